import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.app.pictures.read_image import read_image
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.weights.store import port_file
from jaxstyle.network.layers import CONVOLUTIONS
from jaxstyle.pretrained.load import load_weights
from jaxstyle.pretrained.weight_files import find_cached
from tests.conftest import relative_error
from tests.reference import foreign_files as foreign

POOLINGS = ("max", "average")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSTYLE_CACHE", str(tmp_path / "cache"))


@functools.cache
def network(taps=None, architecture="VGG19"):
    return foreign.make_network(architecture, first_taps=foreign.TAPS.get(taps))


@functools.cache
def photograph():
    return read_image("sample:coffee", 56)[:34, :37]


@functools.cache
def wanted(taps, program, pooling, architecture="VGG19"):
    return foreign.features(photograph(), program, network(taps, architecture), architecture, pooling)


@functools.cache
def ours(pooling):
    return jax.jit(js.make_features([f"relu{n[4:]}" for n in CONVOLUTIONS], pooling=pooling, backend="xla"))


def check_parity(path, taps, program, architecture="VGG19", poolings=("max",)):
    params = js.load_params(path)
    for pooling in poolings:
        found = ours(pooling)(params, jnp.asarray(photograph()))
        reference = wanted(taps, program, pooling, architecture)
        layers = [layer for layer in reference if layer.startswith("relu")]
        assert len(layers) == {"VGG19": 16, "VGG16": 13}[architecture]
        for layer in layers:
            assert relative_error(found[layer], reference[layer]) < 1e-5, (pooling, layer)


@pytest.mark.slow
@pytest.mark.parametrize("case", foreign.CASES)
def test_every_layer_is_that_of_the_source(tmp_path, case):
    if "Keras" in case:
        pytest.importorskip("h5py")
    program, taps, write = foreign.CASES[case]
    path = tmp_path / "a file.of weights"  # the name doesn't tell the format
    write(path, network(taps))
    ported = port_file(path)
    check_parity(ported, taps, program)
    assert ported == ported.absolute()
    assert ported.name == "a-file.safetensors"
    assert find_cached("a-file").architecture == "VGG19"
    ported.unlink()


@pytest.mark.parametrize("case", ["torchvision zip", "Keras 1 notop"])
def test_vgg16(tmp_path, case):
    if case.startswith("Keras"):
        pytest.importorskip("h5py")
    path, layers = tmp_path / "vgg16", network("caffe", "VGG16")
    if case.startswith("Keras"):
        foreign.write_keras(path, layers, "1", "VGG16")
    else:
        foreign.write_torch(path, foreign.torch_state(layers, "VGG16"))
    ported = port_file(path)
    check_parity(ported, "caffe", "caffe", "VGG16")
    assert find_cached("vgg16").architecture == "VGG16"
    assert "conv3_4" not in js.load_params("vgg16")


def test_our_own_files_stay_as_they_are(tmp_path):
    own = port_file(js.pretrained.weight_files.bundled_path("vgg16-in-vgg19.safetensors"), "own")
    jax.tree.map(np.testing.assert_array_equal, js.load_params(own), js.load_params("bundled"))
    again = port_file(own, "again")
    assert again.read_bytes() == own.read_bytes()
    assert load_weights("again").sha256 == load_weights(own).sha256


@pytest.mark.slow
def test_the_preprocessing_can_be_given(tmp_path):
    path = tmp_path / "odd.pth"
    foreign.write_torch(path, foreign.torch_state(network()))
    with pytest.raises(StartError, match=r"cannot port odd.pth \(torch\): .*--preprocessing torchvision, caffe, mat"):
        port_file(path)
    for program in ("torchvision", "caffe", "matconvnet"):
        # Pooling comes after the weights, so that one file is enough to try both kinds.
        poolings = POOLINGS if program == "caffe" else ("max",)
        check_parity(port_file(path, program, preprocessing=program), None, program, poolings=poolings)


def test_a_given_preprocessing_wins_over_the_recognised_one(tmp_path):
    path = tmp_path / "odd.pth"
    foreign.write_torch(path, foreign.torch_state(network("caffe")))
    check_parity(port_file(path, preprocessing="torchvision"), "caffe", "torchvision")


@pytest.mark.parametrize("change", ["half", "rescaled", "fine-tuned"])
@pytest.mark.parametrize("program", ["torchvision", "caffe"])
def test_a_network_is_recognised_through_small_changes(program, change):
    from jaxstyle.pretrained.vgg_conversion import recognise_preprocessing

    kernel = network(program)[0][0]
    if change == "half":
        kernel = kernel.astype(np.float16)
    elif change == "rescaled":
        kernel = kernel * np.random.RandomState(0).uniform(1e-3, 10, 64)
    else:
        kernel = kernel + np.random.RandomState(0).standard_normal(kernel.shape) * 0.05 * np.abs(kernel).mean((0, 1))
    assert recognise_preprocessing(kernel) == program


def test_what_is_no_network_known_is_not_recognised():
    from jaxstyle.pretrained.vgg_conversion import recognise_preprocessing

    generator = np.random.RandomState(0)
    assert {recognise_preprocessing(generator.standard_normal((3, 3, 3, 64))) for _ in range(200)} == {None}
    assert recognise_preprocessing(np.zeros((3, 3, 3, 64))) is None
    assert recognise_preprocessing(-network("caffe")[0][0]) is None


def torch_network(torch, layers):
    """Build VGG19 as an nn.Sequential of torch's own layers, in float64."""
    modules, width, remaining = [], 3, iter(layers)
    for word in foreign.PLANS["VGG19"].split():
        if word == "M":
            modules.append(torch.nn.MaxPool2d(2))
            continue
        convolution = torch.nn.Conv2d(width, int(word), 3, padding=1)
        kernel, bias = next(remaining)
        convolution.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1).copy())
        convolution.bias.data = torch.tensor(bias)
        modules += [convolution, torch.nn.ReLU()]
        width = int(word)
    return torch.nn.Sequential(*modules)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("program", ["torchvision", "caffe"])
def test_files_and_convolutions_of_torch_itself(tmp_path, program, pooling, legacy):
    torch = pytest.importorskip("torch")
    net = torch_network(torch, network(program))
    path = tmp_path / "vgg.pth"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    params = js.load_params(port_file(path))
    found = ours(pooling)(params, jnp.asarray(photograph()))
    x = torch.tensor(foreign.feed(photograph(), program).transpose(2, 0, 1)[None].copy())
    remaining = iter(CONVOLUTIONS)
    with torch.no_grad():
        for module in net.double():
            pool = pooling == "average" and isinstance(module, torch.nn.MaxPool2d)
            x = torch.nn.functional.avg_pool2d(x, 2) if pool else module(x)
            if isinstance(module, torch.nn.ReLU):
                layer = next(remaining).replace("conv", "relu")
                assert relative_error(found[layer], x[0].numpy().transpose(1, 2, 0)) < 1e-5, layer


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_dtypes_of_torch(tmp_path, dtype):
    torch = pytest.importorskip("torch")
    state = torch_network(torch, network("caffe")).to(getattr(torch, dtype)).state_dict()
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "vgg.pth")
    params = js.load_params(port_file(tmp_path / "vgg.pth"))
    kernel = state["6.weight" if "6.weight" in state else "5.weight"].float().numpy().transpose(2, 3, 1, 0)
    layer = next(n for n in CONVOLUTIONS if params[n]["kernel"].shape == kernel.shape)
    np.testing.assert_array_equal(params[layer]["kernel"], kernel)


def test_convolutions_of_flax_itself(tmp_path, x64):
    import flax.linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            found = []
            for word in foreign.PLANS["VGG19"].split():
                if word == "M":
                    x = nn.max_pool(x, (2, 2), (2, 2))
                else:
                    x = nn.relu(nn.Conv(int(word), (3, 3))(x))
                    found.append(x)
            return found

    foreign.write_flax(tmp_path / "flax", network("torchvision"))
    layers = {f"Conv_{i}": {"kernel": k, "bias": b} for i, (k, b) in enumerate(network("torchvision"))}
    x = jnp.asarray(foreign.feed(photograph(), "torchvision"))[None]
    reference = jax.jit(Net().apply)({"params": jax.tree.map(lambda a: a.astype(np.float64), layers)}, x)
    params = js.load_params(port_file(tmp_path / "flax"))
    found = ours("max")(params, jnp.asarray(photograph(), jnp.float32))
    for name, layer in zip(CONVOLUTIONS, reference, strict=True):
        assert relative_error(found[name.replace("conv", "relu")], layer[0]) < 1e-5, name
