"""Networks of the command: AlexNet, and functions of the user's, in a sweep, in run.json, and when a run is resumed."""

import json
import sys

import jax
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.app.execution.network import hash_params
from jaxstyle.network.alexnet import alexnet_features
from jaxstyle.network.features import smallest_side
from tests.command import fails, jaxstyle, read_table

# A network of two layers, small enough to compile in no time; SCALE changes its parameters.
MODULE = """
import jax, jax.numpy as jnp
SCALE = {scale}
def make():
    shapes = ((3, 3, 3, 4), (3, 3, 4, 6))
    kernels = [0.3 * SCALE * jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]
    def features(params, image):
        found = dict()
        for name, kernel in zip(("low", "high"), params):
            if name == "high":
                image = image[::2, ::2]
            image = jax.lax.conv_general_dilated(
                image[None], kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))[0]
            image = found[name] = jnp.maximum(image, 0)
        return found
    return features, kernels
def wrong():
    return 3
"""
OWN = ["--network", "tiny_network:make", "--content-layers", "high", "--style-layers", "low", "high"]
FEW = ["--steps", "2", "--min-size", "900", "--style-loss", "gram", "--beta", "1", "10"]


@pytest.fixture
def own(images, monkeypatch):
    """The folder of two images with a module of a network, which no other test sees."""
    (images / "tiny_network.py").write_text(MODULE.format(scale=1.0))
    monkeypatch.delitem(sys.modules, "tiny_network", raising=False)
    yield images
    sys.modules.pop("tiny_network", None)


def test_a_network_of_ones_own(own, capsys):
    assert jaxstyle("sweep", "c.png", "s.png", *OWN, *FEW, "--out", "run") == 0
    record = json.loads((own / "run" / "run.json").read_text())
    assert record["options"]["network"] == "tiny_network:make"
    assert record["weights"]["name"] == "tiny_network:make"
    assert len(record["weights"]["sha256"]) == 64
    lanes = read_table(own / "run" / "lanes.csv")
    assert [lane["status"] for lane in lanes] == ["ok", "ok"]
    assert {"style_low", "style_high"} <= set(lanes[0])
    assert "--network tiny_network:make" in (own / "run" / "report.html").read_text()
    (own / "tiny_network.py").unlink()
    sys.modules.pop("tiny_network")
    assert jaxstyle("report", "run") == jaxstyle("select", "run") == 0  # no import of it
    assert js.load_run("run").images.shape == (2, 20, 24, 3)


def test_lanes_are_those_of_the_library(own):
    assert jaxstyle("sweep", "c.png", "s.png", *OWN, *FEW, "--tv", "0", "--out", "run") == 0
    sys.path.insert(0, str(own))
    import tiny_network

    sys.path.pop(0)
    features, params = tiny_network.make()
    objective = js.make_objective(features, content_layers="high", style_layers=("low", "high"))
    content, style = js.read_image("c.png"), js.read_image("s.png")
    targets = objective.targets(params, content, style)
    transfer = js.make_transfer(objective.loss, js.lbfgs())
    found = js.sweep(transfer, content, params, targets, js.weight_grid(beta=[1.0, 10.0]), num_steps=2)
    totals = [float(lane["total"]) for lane in read_table(own / "run" / "lanes.csv")]
    np.testing.assert_allclose(totals, found.final.total, rtol=1e-3)


def test_resuming_wants_the_network_again_and_unchanged(own, capsys):
    sweep = ["sweep", "c.png", "s.png", *OWN, *FEW[2:-2], "1", "--steps", "40", "--optimizer", "adam", "--out", "run"]

    def stop(_):
        raise KeyboardInterrupt

    from jaxstyle.app.cli import call

    with pytest.raises(KeyboardInterrupt):
        call([*sweep, "--checkpoint-every", "0", "--quiet"], on_chunk=stop)
    line = "cannot resume run: it was started with --network tiny_network:make, which has to be given again"
    fails(capsys, 2, line, "resume", "run")
    fails(capsys, 2, line, "resume", "run", "--network", "other:make")
    (own / "tiny_network.py").write_text(MODULE.format(scale=1.01))
    sys.modules.pop("tiny_network")
    changed = "the weights tiny_network:make have changed since it was started"
    fails(capsys, 2, f"cannot resume run: {changed}", "resume", "run", "--network", "tiny_network:make")
    (own / "tiny_network.py").write_text(MODULE.format(scale=1.0))
    sys.modules.pop("tiny_network")
    assert jaxstyle("resume", "run", "--network", "tiny_network:make", "--quiet") == 0
    assert read_table(own / "run" / "lanes.csv")[0]["status"] == "ok"


@pytest.mark.slow
def test_alexnet_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["sample:cat", "sample:woodcut", "--size", "64", "--network", "alexnet", *FEW, "--optimizer", "adam"]
    assert jaxstyle("sweep", *words, "--out", "run") == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["weights"]["name"] == "lpips-alex"
    assert record["options"]["style_layers"] == ["relu1", "relu2", "relu3", "relu4", "relu5"]
    assert {lane["status"] for lane in read_table(tmp_path / "run" / "lanes.csv")} == {"ok"}


def test_slips(own, capsys):
    for words, line in (
        (["--network", "vgg7"], "'vgg7' is no network: give vgg19, alexnet, or MODULE:FUNCTION"),
        (["--network", "no_such_module:make", *OWN[2:]], "--network no_such_module:make: ModuleNotFoundError"),
        (["--network", "tiny_network:none", *OWN[2:]], "--network tiny_network:none: AttributeError"),
        (["--network", "tiny_network:wrong", *OWN[2:]], "wrong takes nothing and returns .features, params."),
        (OWN[:2], "--network tiny_network:make needs --content-layers and --style-layers: names of layers"),
        ([*OWN[:-1], "relu9"], "no relu9 among the layers high, low of features"),
        ([*OWN, "--weights", "bundled"], "--weights is for VGG19, not for --network tiny_network:make: leave it out"),
        ([*OWN, "--pooling", "average"], "--pooling is for VGG19"),
        ([*OWN, "--size", "5"], "--size 5 makes c.png 5x4 pixels, too few for the layers"),
    ):
        fails(capsys, 2, line, "sweep", "c.png", "s.png", *words, *FEW, "--out", "run")
    assert not (own / "run").exists()


def test_the_smallest_image_is_found(params):
    assert smallest_side(alexnet_features, js.load_lpips("alex"), ("relu1", "relu5")) == 31
    assert smallest_side(js.make_features(("relu3_1",)), params, ("relu3_1",)) == 8

    def refuses(params, image):
        raise ValueError("never")

    with pytest.raises(ValueError, match="features take no image of up to 2048 pixels a side: never"):
        smallest_side(refuses, {}, ("a",))


def test_a_hash_tells_values_shapes_and_places_apart():
    a = {"x": np.ones((2, 3), np.float32), "y": np.zeros(2, np.float32)}
    others = [{**a, "x": a["x"].T}, {**a, "x": 2 * a["x"]}, {"x": a["x"], "z": a["y"]}, {**a, "y": np.zeros(2)}]
    assert len({hash_params(tree) for tree in (a, *others)}) == 5
    assert hash_params(a) == hash_params(jax.tree.map(jax.numpy.asarray, a))
