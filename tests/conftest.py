"""Fixtures, and how the tests share what they compile.

Most of the time goes into compiling programs that then run for microseconds. So LLVM leaves out the passes that make a
program quick to run, and XLA takes its older generator of code, which needs half the time, where it still has it;
`--full-optimization` asks for what users have. What a worker and its child processes have compiled is kept until the
run ends.
"""

import contextlib
import functools
import gc
import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax._src.interpreters import mlir
from PIL import Image

import jaxstyle as js
from jaxstyle.app.pictures.read_image import read_image
from jaxstyle.network import layers
from jaxstyle.pretrained import load

COMPILED = "JAXSTYLE_TESTS_COMPILED"  # names the folder of what a run has compiled
QUICK_TO_COMPILE = "--xla_backend_optimization_level=0"
if jax.__version_info__ < (0, 11):
    QUICK_TO_COMPILE += " --xla_cpu_use_fusion_emitters=false"

SHALLOW = {"content_layers": ("relu2_2",), "style_layers": ("relu1_1", "relu2_1")}


def pytest_addoption(parser):
    parser.addoption("--backend", default="auto", help="what make_features takes by default: auto, xla or winograd")
    parser.addoption(
        "--full-optimization", action="store_true", help="compile as users do: the tests take twice as long"
    )


def reuse_mlir_contexts():
    """Let ten programs share an MLIR context, as jax 0.12 does by itself.

    Older ones make one for each program, and MLIR gets slower with each: after 2000 programs the next one takes 40 ms
    to lower, which took 8. A context without threads has no caches of each thread, which are what gets slow.
    """
    if hasattr(mlir, "_create_ir_context"):
        return
    make, held = mlir.make_ir_context, threading.local()

    def make_ir_context():
        context, uses = getattr(held, "context", (None, 10))
        if uses == 10:
            context, uses = make(), 0
            context.enable_multithreading(False)
        held.context = context, uses + 1
        return context

    mlir.make_ir_context = make_ir_context


def pytest_configure(config):
    from jaxstyle.network import vgg_features

    vgg_features.make_features.__kwdefaults__["backend"] = config.getoption("--backend")
    reuse_mlir_contexts()
    # Traces make millions of objects: looking for dead ones takes a seventh of the time.
    gc.set_threshold(200_000, 20, 20)
    flags = os.environ.get("XLA_FLAGS", "")
    if not config.getoption("--full-optimization") and QUICK_TO_COMPILE not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {QUICK_TO_COMPILE}".strip()
    if COMPILED not in os.environ:
        os.environ[COMPILED] = tempfile.mkdtemp(prefix="jaxstyle-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(COMPILED), ignore_errors=True))
    # A folder a worker, because a program that another process has half written is read with a warning.
    folder = Path(os.environ[COMPILED]) / os.environ.get("PYTEST_XDIST_WORKER", "main")
    settings = {"compilation_cache_dir": str(folder)}
    settings |= {"persistent_cache_min_compile_time_secs": 0, "persistent_cache_min_entry_size_bytes": -1}
    for name, value in settings.items():
        jax.config.update(f"jax_{name}", value)
        os.environ[f"JAX_{name.upper()}"] = str(value)  # for the processes that tests start


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests of one file share a worker, unless they say which do, as they share what they compile."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """Tests leave the user's cache folder alone, and draw the weights of a seed once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "_random_weights", functools.cache(load._random_weights))
        patch.setenv("JAXSTYLE_CACHE", str(tmp_path_factory.mktemp("cache")))
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
    objective = js.make_objective(features, **SHALLOW)
    return features, objective.loss, objective.targets(params, content, style)


@pytest.fixture
def problem(shallow, params, content):
    """What calls of the small problem take: features, transfer, loss, image, parameters and targets."""
    features, loss, targets = shallow
    return features, js.make_transfer(loss, optax.adam(0.1)), loss, content, params, targets


@pytest.fixture
def shallow_by_default(monkeypatch):
    """Functions take the layers of SHALLOW unless told otherwise: for scripts that take the defaults of the library."""
    for name, chosen in SHALLOW.items():
        monkeypatch.setattr(layers, name.upper(), chosen)
        monkeypatch.setitem(js.make_objective.__kwdefaults__, name, chosen)
    monkeypatch.setattr(js.make_features, "__defaults__", (sum(SHALLOW.values(), ()),))


@contextlib.contextmanager
def own_signals():
    """The command sets handlers of its own; give pytest's back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def signals():
    with own_signals():
        yield


def make_images(folder):
    """A content image c.png and a style image s.png, the same ones every time."""
    rng = np.random.default_rng(7)
    for name, shape in (("c.png", (20, 24, 3)), ("s.png", (18, 30, 3))):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def images(tmp_path, monkeypatch):
    """The folder of two images, as the working folder."""
    monkeypatch.chdir(tmp_path)
    return make_images(tmp_path)


@pytest.fixture(scope="module")
def shared_images(tmp_path_factory):
    """Like `images`, for a fixture that several tests of a module read: a context in which it is the working folder."""

    @contextlib.contextmanager
    def enter():
        with pytest.MonkeyPatch.context() as patch, own_signals():
            folder = make_images(tmp_path_factory.mktemp("shared"))
            patch.chdir(folder)
            yield folder

    return enter


@pytest.fixture
def rng(request):
    """Random numbers of the test's own, the same whichever tests ran before."""
    return np.random.default_rng(list(request.node.name.encode()))


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def count_traces(function):
    """The function, and a list that gets an entry whenever jax traces it."""
    traces = []

    def counted(*arguments):
        traces.append(1)
        return function(*arguments)

    return counted, traces


def relative_error(found, wanted):
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


def widen(tree):
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x, np.float64)), tree)
