import hashlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import jaxstyle as js
from jaxstyle.app.pictures.read_image import read_image
from jaxstyle.pretrained import weight_files
from jaxstyle.pretrained.load import load_weights
from jaxstyle.pretrained.weight_files import WeightsError, bundled_path
from jaxstyle.pretrained.weight_sets import DEFAULT, LPIPS_SETS, REGISTRY
from tests.conftest import relative_error
from tests.reference import numpy_vgg

BUNDLED = bundled_path(REGISTRY[DEFAULT].file)


@pytest.fixture(scope="module")
def tensors():
    return safetensors.numpy.load_file(BUNDLED)


def test_bundled_set_is_exactly_vgg16_with_the_same_rounded_weights(tensors):
    # The names and the order are those of VGG16's 13 convolutions, and the file is read without jaxstyle's help.
    names = [f"conv{b}_{i}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)]
    convolutions = [(tensors[f"{n}/kernel"], tensors[f"{n}/bias"]) for n in names]
    image = read_image("sample:coffee", 64)
    wanted = numpy_vgg.features(image, tensors["mean"], convolutions, numpy_vgg.VGG16)
    layers = [layer for layer in wanted if not layer.startswith("conv")]
    found = jax.jit(js.make_features(layers))(js.load_params(), jnp.asarray(image))
    for layer in layers:
        assert relative_error(found[layer], wanted[layer]) < 1e-5, layer
    # The three convolutions that only VGG19 has repeat what comes before them.
    more = jax.jit(js.make_features(("relu4_3", "relu4_4")))(js.load_params(), jnp.asarray(image))
    np.testing.assert_array_equal(more["relu4_3"], more["relu4_4"])


def test_known_values_of_the_first_kernel(tensors):
    published = [[-0.5537, 0.1427, 0.5290], [-0.5831, 0.3566, 0.7657], [-0.6902, -0.0480, 0.4841]]
    np.testing.assert_allclose(tensors["conv1_1/kernel"][:, :, 0, 0] * 0.229, published, atol=1e-3)


def test_bundled_file_is_what_its_readme_says(tensors):
    readme = (BUNDLED.parent / "README.md").read_text()
    entry = REGISTRY[DEFAULT]
    assert entry.sha256 in readme
    assert f"{entry.size:,}" in readme
    assert BUNDLED.stat().st_size == entry.size
    kernels = [v for k, v in tensors.items() if k.endswith("kernel")]
    assert len(kernels) == 13
    assert {k.dtype for k in kernels} == {np.dtype(np.float16)}


@pytest.mark.parametrize("name", LPIPS_SETS.values())
def test_sets_of_metrics_are_what_the_readme_says(name):
    entry = REGISTRY[name]
    path = bundled_path(entry.file)
    readme = (path.parent / "README.md").read_text()
    assert f"| `{entry.file}` | {entry.size:,} | `{entry.sha256}` |" in readme
    assert path.stat().st_size == entry.size
    tensors = safetensors.numpy.load_file(path)
    assert {v.dtype for k, v in tensors.items() if k.startswith("conv")} <= {np.dtype(np.float16)}
    assert [len(v) for k, v in sorted(tensors.items()) if k.startswith("heads")] == (
        [64, 192, 384, 256, 256] if name == "lpips-alex" else [64, 128, 256, 512, 512]
    )


def test_known_values_of_alexnet():
    params = js.load_lpips("alex")
    count = sum(leaf.size for layer, leaves in params.items() if layer.startswith("conv") for leaf in leaves.values())
    assert count == 2_469_696  # the published number of its convolutions
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(params["mean"], js.load_params()["mean"])


def test_lpips_vgg16_is_the_bundled_set_with_heads():
    params = dict(js.load_lpips("vgg16"))
    assert set(params.pop("heads")) == {"relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"}
    jax.tree.map(np.testing.assert_array_equal, params, js.load_params("bundled"))


@pytest.mark.parametrize("name", LPIPS_SETS.values())
def test_sets_of_metrics_are_refused_for_a_transfer(name):
    loads = f'js.load_lpips\\("{name.removeprefix("lpips-")}"\\) loads them'
    with pytest.raises(
        WeightsError, match=f"weights '{name}' are for metrics, .*{loads}.*give one of bundled, vgg16-in-vgg19"
    ):
        js.load_params(name)
    with pytest.raises(WeightsError, match="unknown network of LPIPS 'vgg19': give one of alex, vgg16"):
        js.load_lpips("vgg19")


def test_names():
    bundled = load_weights("bundled")
    assert bundled.name == "vgg16-in-vgg19"
    assert bundled.sha256 == hashlib.sha256(BUNDLED.read_bytes()).hexdigest()
    by_path = load_weights(BUNDLED)
    assert (by_path.name, by_path.sha256) == (BUNDLED.name, bundled.sha256)
    jax.tree.map(np.testing.assert_array_equal, by_path.params, bundled.params)
    with pytest.raises(WeightsError, match="'vgg19-oxford' are not in .* yet: jaxstyle weights fetch vgg19-oxford"):
        js.load_params("vgg19-oxford")
    with pytest.raises(WeightsError, match="unknown weights 'vgg20': give one of bundled, vgg16-in-vgg19, vgg19-oxf"):
        js.load_params("vgg20")


def test_random_sets():
    first = load_weights("random:7")
    assert first.sha256 == load_weights("random:7").sha256 != load_weights("random:8").sha256
    assert first.name == "random:7"
    kernel = first.params["conv5_4"]["kernel"]
    assert float(kernel.std()) == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)
    for bad in ("random:", "random:x", "random:-1", f"random:{2**32}"):
        with pytest.raises(WeightsError, match="SEED must be a whole number"):
            js.load_params(bad)


def test_a_file_with_all_sixteen_convolutions(tmp_path):
    params = js.load_params("random:0")
    flat = {"mean": params["mean"]} | {f"{n}/{k}": v for n in params if n != "mean" for k, v in params[n].items()}
    path = tmp_path / "all.safetensors"
    safetensors.numpy.save_file({k: np.asarray(v) for k, v in flat.items()}, path)
    jax.tree.map(np.testing.assert_array_equal, js.load_params(path), params)


def broken(tensors, case):
    changed = dict(tensors)
    if case == "missing":
        del changed["conv3_2/bias"]
    elif case == "shape":
        changed["conv2_1/kernel"] = changed["conv2_1/kernel"][:, :, :32]
    elif case == "nan":
        changed["conv1_1/bias"] = np.full(64, np.nan, np.float32)
    elif case == "huge":
        changed["conv1_1/bias"] = np.full(64, 1e300)
    elif case == "integers":
        changed["mean"] = np.zeros(3, np.int32)
    elif case == "partly VGG19":
        changed["conv3_4/kernel"] = np.zeros((3, 3, 256, 256), np.float32)
    return changed


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("missing", "tensor conv3_2/bias is missing"),
        ("shape", r"tensor conv2_1/kernel must have shape \(3, 3, 64, 128\), has \(3, 3, 32, 128\)"),
        ("nan", "tensor conv1_1/bias must hold finite"),
        ("huge", "tensor conv1_1/bias must hold finite"),
        ("integers", "tensor mean must hold finite numbers"),
        ("partly VGG19", "tensor conv3_4/bias is missing"),
    ],
)
def test_wrong_content_names_file_and_reason(tmp_path, tensors, case, reason):
    path = tmp_path / "w.safetensors"
    safetensors.numpy.save_file(broken(tensors, case), path)
    with pytest.raises(WeightsError, match=f"w.safetensors: {reason}"):
        js.load_params(path)


def test_unreadable_files_name_file_and_reason(tmp_path):
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(WeightsError, match="text.safetensors: it is text, not a set of weights$"):
        js.load_params(tmp_path / "text.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(BUNDLED.read_bytes()[:1_000_000])
    with pytest.raises(WeightsError, match="cut.safetensors: not a whole safetensors file"):
        js.load_params(tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError, match="no.safetensors: no such file"):
        js.load_params(tmp_path / "no.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(WeightsError, match="folder.safetensors: not a file"):
        js.load_params(tmp_path / "folder.safetensors")


@pytest.mark.parametrize("name", [DEFAULT, *LPIPS_SETS.values()])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-1], "truncated"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "altered"),
        (None, "no such file"),
    ],
)
def test_a_damaged_bundled_file_is_never_used(tmp_path, monkeypatch, name, change, reason):
    original = bundled_path(REGISTRY[name].file)
    copy = tmp_path / original.name
    shutil.copy(original, copy)
    if change is None:
        copy.unlink()
    else:
        copy.write_bytes(change(copy.read_bytes()))
    monkeypatch.setattr(weight_files, "bundled_path", lambda _: copy)
    with pytest.raises(WeightsError, match=f"{copy.name}: .*{reason}"):
        js.load_params(name) if name == DEFAULT else js.load_lpips(name.removeprefix("lpips-"))
