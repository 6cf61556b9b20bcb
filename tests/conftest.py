import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxstyle as js
from jaxstyle.app.images import read_image

SHALLOW = {"content_layers": ("relu2_2",), "style_layers": ("relu1_1", "relu2_1")}


def pytest_addoption(parser):
    parser.addoption("--backend", default="auto", help="what make_features takes by default: auto, xla or winograd")


def pytest_configure(config):
    from jaxstyle import vgg

    vgg.make_features.__kwdefaults__["backend"] = config.getoption("--backend")


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """Tests leave the user's cache folder alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXSTYLE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        yield


@pytest.fixture(scope="session")
def params():
    return js.load_params("random:0")


@pytest.fixture(scope="session")
def content():
    return jnp.asarray(read_image("sample:cat", 54)[:, :34])


@pytest.fixture(scope="session")
def style():
    return jnp.asarray(read_image("sample:swirls", 44)[:32])


@pytest.fixture(scope="session")
def shallow(params, content, style):
    """A small problem: features, loss, targets."""
    features = js.make_features(("relu1_1", "relu2_1", "relu2_2"))
    targets = js.make_targets(features, params, content, style, **SHALLOW)
    return features, js.make_loss(features, **SHALLOW), targets


@pytest.fixture(autouse=True)
def signals():
    """The command sets handlers of its own; give pytest's back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(7)
    for name, shape in (("c.png", (20, 24, 3)), ("s.png", (18, 30, 3))):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(name)
    return tmp_path


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def relative_error(found, wanted):
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


def widen(tree):
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x, np.float64)), tree)
