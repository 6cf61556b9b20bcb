import argparse
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxstyle as js
from jaxstyle.app.commands.weights import add_weights
from jaxstyle.app.pictures.image_sources import load_source
from jaxstyle.app.system.errors import RunError, StartError
from jaxstyle.app.weights import normalise
from jaxstyle.app.weights.normalise import mean_activations, normalise_set
from jaxstyle.network.layers import CONVOLUTIONS
from jaxstyle.pretrained.load import load_weights
from jaxstyle.pretrained.weight_files import bundled_path, set_path
from jaxstyle.pretrained.weight_sets import REGISTRY, REMOTE_SETS
from tests.conftest import relative_error
from tests.reference import foreign_files as foreign
from tests.reference import numpy_vgg

BUNDLED = bundled_path("vgg16-in-vgg19.safetensors")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSTYLE_CACHE", str(tmp_path / "cache"))


def run(*arguments):
    parser = argparse.ArgumentParser()
    add_weights(parser.add_subparsers(required=True))
    args = parser.parse_args(["weights", *map(str, arguments)])
    args.command(args)


def test_port_prints_the_path_last_and_whole(tmp_path, capsys):
    folder = tmp_path / ("a long name " * 12) / "and ünïcode"
    folder.mkdir(parents=True)
    path = folder / "my weights.pth"
    foreign.write_torch(
        path, foreign.torch_state(foreign.make_network("VGG16", first_taps=foreign.CAFFE_TAPS), "VGG16")
    )
    run("port", path)
    last = Path(capsys.readouterr().out.splitlines()[-1])
    assert last == tmp_path / "cache" / "weights" / "my-weights.safetensors"
    assert last.is_file()
    run("port", path, "--name", "mine", "--preprocessing", "torchvision")
    assert load_weights("mine").sha256 != load_weights("my-weights").sha256


def test_list_shows_every_set_and_what_a_command_takes(capsys):
    run("port", BUNDLED, "--name", "mine")
    run("list")
    out = capsys.readouterr().out
    for name, entry in REGISTRY.items():
        assert f"{name}: {entry.architecture}, {entry.licence}\n  {entry.source}\n  sha256 {entry.sha256}\n" in out
        assert str(set_path(name)) in out
    for name, remote in REMOTE_SETS.items():
        assert f"{name}: {remote.architecture}, {remote.licence}" in out
        assert f"not here: jaxstyle weights fetch {name}" in out
    assert "mine: VGG16, not known: that of its source\n  vgg16-in-vgg19.safetensors (jaxstyle)" in out
    assert out.splitlines()[-1].startswith("a transfer takes vgg16-in-vgg19: ")


def test_verify_checks_every_set(capsys):
    run("port", BUNDLED, "--name", "mine")
    run("verify")
    out = capsys.readouterr().out
    assert all(f"{name}: ok, {set_path(name)}" in out for name in [*REGISTRY, "mine"])
    path = set_path("mine")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match="1 of 4 weight sets can't be used: mine"):
        run("verify")
    assert "mine: FAILED, weights" in capsys.readouterr().out
    path.with_suffix(".json").write_text("no")
    with pytest.raises(RunError, match="mine"):
        run("verify")
    run("list")
    assert "mine: weights" in capsys.readouterr().out


def test_errors_are_those_of_the_command(tmp_path):
    with pytest.raises(StartError, match="no.pth: no such file"):
        run("port", tmp_path / "no.pth")
    with pytest.raises(StartError, match="nothing to fetch"):
        run("fetch", "vgg20")
    with pytest.raises(StartError, match="unknown weights 'vgg20'"):
        run("normalise", "vgg20", tmp_path)
    with pytest.raises(StartError, match="holds no image"):
        run("normalise", "bundled", tmp_path)


def test_the_parser_imports_nothing_heavy():
    code = (
        "import sys, argparse\n"
        "from jaxstyle.app.commands.weights import add_weights\n"
        "add_weights(argparse.ArgumentParser().add_subparsers())\n"
        "print([m for m in ('jax', 'numpy', 'requests', 'PIL') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "images"
    found.mkdir()
    generator = np.random.RandomState(0)
    for i, (h, w) in enumerate([(40, 36), (33, 47)] + [(32, 32)] * 14):
        coarse = generator.randint(0, 256, (5, 5, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((w, h), Image.Resampling.BICUBIC).save(found / f"{i}.png")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pooling"), [("random:3", "max"), ("bundled", "average")])
def test_every_filters_mean_activation_is_1(folder, capsys, monkeypatch, name, pooling):
    monkeypatch.setattr(normalise, "LEAST_IMAGES", 3)  # NumPy's network takes long
    for file in sorted(folder.iterdir())[3:]:
        file.unlink()
    run("normalise", name, folder, "--name", "even", "--size", 47, "--pooling", pooling)
    caught = capsys.readouterr()
    assert caught.out.splitlines()[-1] == str(set_path("even"))
    params = js.load_params("even")
    kernels = [layer for layer in CONVOLUTIONS if layer in params]
    assert len(kernels) == (16 if name == "random:3" else 13)
    images = [picture.image for picture in load_source(str(folder), 47).pictures]
    # The means are taken in float64 NumPy, over all positions of all images.
    plan = numpy_vgg.VGG19 if name == "random:3" else numpy_vgg.VGG16
    convolutions = [(params[layer]["kernel"], params[layer]["bias"]) for layer in kernels]
    found = [numpy_vgg.features(image, params["mean"], convolutions, plan, pooling) for image in images]
    before = load_weights(name).params
    plain = [(before[n]["kernel"], before[n]["bias"]) for n in kernels]
    originals = [numpy_vgg.features(image, before["mean"], plain, plan, pooling) for image in images]
    hardly = 0
    for layer in [layer for layer in found[0] if layer.startswith("relu")]:
        after, mean = (
            np.mean(np.concatenate([f[layer].reshape(-1, f[layer].shape[-1]) for f in some]), axis=0)
            for some in (found, originals)
        )
        tenth = mean.mean() / 10
        np.testing.assert_allclose(after, np.minimum(1, mean / tenth), rtol=1e-3, atol=1e-3)
        hardly += np.sum(mean < tenth)
    assert hardly > 0
    assert f"\n{hardly} filters hardly fire" in caught.err
    # The network is the same but for the scales of its filters, which are positive factors.
    original = originals[0]
    for layer in ("relu1_1", "relu3_3", "relu5_1"):
        scale = original[layer].max((0, 1)) / np.where(found[0][layer].max((0, 1)) > 0, found[0][layer].max((0, 1)), 1)
        assert relative_error(found[0][layer] * scale, original[layer]) < 1e-4


def test_mean_activations_are_over_images_and_positions():
    params = js.load_params("random:1")
    images = [np.full((32, 32, 3), 0.5, np.float32), np.full((64, 48, 3), 0.9, np.float32)]
    found = mean_activations(params, images)
    relu = js.make_features(["relu2_1"])
    layers = [np.asarray(relu(params, jnp.asarray(image))["relu2_1"]).reshape(-1, 128) for image in images]
    np.testing.assert_allclose(found["conv2_1"], np.concatenate(layers).mean(0), rtol=1e-5)


def test_too_few_images_are_refused(folder, capsys):
    """Copies of an image and files that can't be read don't count."""
    (folder / "1.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "note.txt").write_text("hello")
    with pytest.raises(StartError, match=r"images holds 15 different images, too few .*: give at least 16 photographs"):
        run("normalise", "random:3", folder, "--name", "even", "--size", 47)
    assert not set_path("even").exists()


def test_a_filter_is_divided_by_a_tenth_of_its_layers_mean_at_least(folder, capsys, monkeypatch):
    """The means are given, not measured: conv1_1's first filter hardly fires, and its second fires just enough."""
    params = load_weights("random:3").params
    means = {layer: np.linspace(1.0, 3.0, len(leaves["bias"])) for layer, leaves in params.items() if layer != "mean"}
    means["conv1_1"][:2] = 1e-9, 0.9
    monkeypatch.setattr("jaxstyle.app.weights.normalise.mean_activations", lambda *_: means)
    scaled, details = normalise_set("random:3", str(folder), 47)
    assert "on 16 images" in details["source"]
    kernel = np.asarray(params["conv1_1"]["kernel"], np.float64)
    divisors = means["conv1_1"].copy()
    divisors[0] = means["conv1_1"].mean() / 10
    np.testing.assert_allclose(scaled["conv1_1/kernel"], kernel / divisors, rtol=1e-6)
    second = np.asarray(params["conv1_2"]["kernel"], np.float64) * divisors[:, None] / means["conv1_2"]
    np.testing.assert_allclose(scaled["conv1_2/kernel"], second, rtol=1e-6)
    assert "\n1 filters hardly fire on these images: they are scaled as if" in capsys.readouterr().err


@pytest.mark.slow
def test_a_set_that_never_fires_is_refused(folder, tmp_path):
    import safetensors.numpy

    tensors = safetensors.numpy.load_file(BUNDLED)
    tensors["conv2_2/bias"] = np.full(128, -1e4, np.float32)
    safetensors.numpy.save_file(tensors, tmp_path / "dead.safetensors")
    with pytest.raises(StartError, match="no filter of conv2_2 fires"):
        normalise_set(str(tmp_path / "dead.safetensors"), str(folder), 47)


def test_the_readme_has_a_row_of_every_format():
    readme = (BUNDLED.parent / "README.md").read_text()
    table = readme.partition("<!-- formats: begin")[2].partition("<!-- formats: end -->")[0]
    rows = {
        row.split(" | ")[0].removeprefix("| "): row.strip(" |").split(" | ")
        for row in table.splitlines()[1:]
        if "|" in row
    }
    assert set(rows) == {"file", "|---|---|---|---|---|", *foreign.CASES}
    for case, (program, _, _) in foreign.CASES.items():
        assert rows[case][1] == program
        assert all(float(error) <= 1e-5 for error in rows[case][3:5])
    for name in REMOTE_SETS:
        assert f"`{name}`" in readme
