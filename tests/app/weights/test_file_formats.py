import json
import os
import pickle
import sys
import zipfile

import numpy as np
import pytest
import safetensors.numpy

import jaxstyle as js
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.weights.file_formats import read_source
from jaxstyle.app.weights.pickles import load_arrays
from jaxstyle.app.weights.store import port_file
from jaxstyle.pretrained.load import load_weights
from jaxstyle.pretrained.weight_files import WeightsError, default_set, weights_folder
from tests.reference import foreign_files as foreign

BUNDLED = js.pretrained.weight_files.bundled_path("vgg16-in-vgg19.safetensors")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSTYLE_CACHE", str(tmp_path / "cache"))


class Evil:
    """An object that makes a file when Python's own reader unpickles it."""

    def __init__(self, function, *args):
        self.reduced = function, args

    def __reduce__(self):
        return self.reduced


def evil_pickles(mark):
    yield "os.mkdir", pickle.dumps(Evil(os.mkdir, mark), 2)
    yield "protocol 4", pickle.dumps({"features.0.weight": Evil(os.mkdir, mark)}, 4)
    yield "eval", pickle.dumps(Evil(eval, f"__import__('os').mkdir({mark!r})"), 2)
    yield "getattr", pickle.dumps(Evil(getattr, [], "append"), 2)
    yield "INST", b"(S'" + mark.encode() + b"'\nios\nmkdir\n."
    yield "dotted", b"\x80\x04\x8c\x0ccollections\x8c\x13OrderedDict.__init__\x93."
    yield "extension", b"\x80\x02\x82\x01."


@pytest.mark.parametrize("write", [foreign.write_torch, foreign.write_torch_legacy])
@pytest.mark.parametrize("case", range(7))
def test_a_malicious_pickle_is_refused_without_effect(tmp_path, write, case):
    mark, path = str(tmp_path / "pwned"), tmp_path / "evil.pth"
    _, pickled = list(evil_pickles(mark))[case]
    write(path, {"features.0.weight": np.zeros((64, 3, 3, 3), np.float32)}, pickled)
    with pytest.raises(StartError, match="cannot port .*evil.pth: its? .*(no place in a file of weights|damaged)"):
        port_file(path)
    assert not (tmp_path / "pwned").exists()
    with pytest.raises(pickle.UnpicklingError):
        load_arrays(pickled)
    assert not (tmp_path / "pwned").exists()


def test_the_malicious_pickles_do_work_elsewhere(tmp_path):
    for i, (name, pickled) in enumerate(evil_pickles(str(tmp_path / "pwned"))):
        if i in (0, 1, 2, 4):
            pickle.loads(pickled)
            assert (tmp_path / "pwned").exists(), name
            (tmp_path / "pwned").rmdir()


TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ\xc0\x06\x00\x00tQ"


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02"
        + TENSOR
        + STORAGE
        + b"K\x00(M\x00\x10K\x03K\x03K\x03t(K\x1bK\x09K\x03K\x01t\x89Nt\x52.",  # too large
        b"\x80\x02" + TENSOR + STORAGE + b"J\xff\xff\xff\xff(K\x40K\x03K\x03K\x03t(K\x1bK\x09K\x03K\x01t\x89Nt\x52.",
        b"\x80\x02" + TENSOR + b"(}N}t(K\x01t\x89Nt\x52.",
        b"\x80\x02" + TENSOR + b"}X\x05\x00\x00\x00shapeK\x01s\x62.",  # sets an attribute of the function
        b"\x80\x02" + TENSOR + b"N}X\x05\x00\x00\x00_callK\x01s\x86\x62.",
        b"\x80\x02ctorch\nFloatStorage\n)\x81.",
        b"\x80\x02K\x01r\xff\xff\xff\x7f.",  # a memo index of 2**31
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",  # a frame of 2**63 bytes
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x02(((.",
        b"\x80\x02]" + b"\x85" * 100_000 + b".",  # nested
        b"",
    ],
)
def test_odd_pickles(tmp_path, pickled):
    path = tmp_path / "odd.pth"
    foreign.write_torch(path, {"features.0.weight": np.zeros((64, 3, 3, 3), np.float32)}, pickled)
    with pytest.raises(StartError, match="cannot port .*odd.pth"):
        port_file(path)


def test_a_whole_model_is_refused_with_advice(tmp_path):
    path = tmp_path / "model.pth"
    foreign.write_torch(path, {}, b"\x80\x02ctorchvision.models.vgg\nVGG\n)\x81.")
    with pytest.raises(StartError, match=r"names torchvision.models.vgg.VGG, .*save model.state_dict\(\)"):
        port_file(path)


def small_files(tmp_path):
    layers = foreign.make_network("VGG16", first_taps=foreign.CAFFE_TAPS)
    foreign.write_torch(tmp_path / "zip", foreign.torch_state(layers, "VGG16"))
    foreign.write_torch_legacy(tmp_path / "legacy", foreign.torch_state(layers, "VGG16"))
    foreign.write_safetensors(tmp_path / "safetensors", foreign.torch_state(layers, "VGG16"))
    foreign.write_matconvnet(tmp_path / "mat", layers, False, "VGG16")
    foreign.write_flax(tmp_path / "flax", layers)
    try:
        foreign.write_keras(tmp_path / "keras", layers, "1", "VGG16")
    except ImportError:
        return ["zip", "legacy", "safetensors", "mat", "flax"]
    return ["zip", "legacy", "safetensors", "mat", "flax", "keras"]


def test_truncated_files_of_every_format(tmp_path):
    for name in small_files(tmp_path):
        path = tmp_path / name
        assert len(read_source(path).tensors) >= 26, name
        whole = path.read_bytes()
        for count in (3, 100, 600, len(whole) // 3, len(whole) - 30_000):
            path.write_bytes(whole[:count])
            with pytest.raises(StartError, match=f"cannot port .*{name}"):
                port_file(path)
        path.unlink()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty, not weights of a known format"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"hello", "it is text, not weights of a known format"),
        (bytes(40), "no known format"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "a Git LFS pointer.*; git lfs pull"),
        (b"MATLAB 7.3 MAT-file" + bytes(600), "save it with save -v7"),
        (b"MATLAB 5.0 MAT-file" + bytes(600), r"\.mat file"),
        (pickle.dumps({"a": 1}, 2), "it is a pickle of Python, not weights of a known format"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "damaged or truncated HDF5|need h5py"),
        (b"\x10\0\0\0\0\0\0\0{" + bytes(40), "damaged or truncated"),
        (b"\x81\xa1aX", "damaged or truncated file of msgpack|16 of VGG19"),
    ],
)
def test_other_files(tmp_path, data, reason):
    path = tmp_path / "file.bin"
    path.write_bytes(data)
    with pytest.raises(StartError, match=f"({reason})") as caught:
        port_file(path)
    assert "\n" not in str(caught.value)


def test_other_archives(tmp_path):
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", "")
    with pytest.raises(StartError, match="whole Keras model"):
        port_file(path)
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    with pytest.raises(StartError, match=r"an \.npz archive"):
        port_file(tmp_path / "a.npz")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**6))
    with pytest.raises(StartError, match="archive is compressed"):
        port_file(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(StartError, match="no.pth: no such file"):
        port_file(tmp_path / "no.pth")
    with pytest.raises(StartError, match="not a file"):
        port_file(tmp_path)


def test_other_networks(tmp_path):
    state = foreign.torch_state(foreign.make_network("VGG16"), "VGG16")
    path = tmp_path / "other.pth"

    def refused(changed, reason):
        foreign.write_torch(path, changed)
        with pytest.raises(StartError, match=reason):
            port_file(path)

    refused(state | {"features.1.running_mean": np.ones(64, np.float32)}, "batch normalisation")
    refused({k: v for k, v in state.items() if k != "features.5.bias"}, "convolution features.5 has no bias")
    refused({k: v for k, v in state.items() if not k.startswith("features.28")}, "holds 12 convolutions .*3-64 64-64 ")
    refused({"fc.weight": np.ones((3, 4), np.float32)}, "holds 0 convolutions of 3x3, not the 16 of VGG19 or the 13")
    first = np.full_like(state["features.2.weight"], np.nan)
    foreign.write_torch(path, state | {"features.2.weight": first})
    with pytest.raises(StartError, match="tensor conv1_2/kernel must hold finite"):
        port_file(path, preprocessing="caffe")
    assert not list(weights_folder().glob("*"))


def test_a_bomb_of_matlab_is_refused(tmp_path, monkeypatch):
    import scipy.io

    from jaxstyle.app.weights import file_formats

    scipy.io.savemat(tmp_path / "bomb.mat", {"layers": np.zeros(10**6)}, do_compression=True)
    assert (tmp_path / "bomb.mat").stat().st_size < 20_000
    monkeypatch.setattr(file_formats, "_MAX_BYTES", 2**22)
    with pytest.raises(StartError, match="unfolds to more than 4 MiB"):
        port_file(tmp_path / "bomb.mat")


def test_h5py_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    with pytest.raises(StartError, match="pip install h5py"):
        port_file(tmp_path / "a.h5")


def test_names(tmp_path):
    path = port_file(BUNDLED, "mine")
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["architecture"] == "VGG16"
    assert record["ported_from"]["sha256"] == load_weights().sha256
    assert load_weights("mine").name == "mine"
    assert load_weights("mine").sha256 == record["sha256"]
    assert port_file(BUNDLED, "mine") == path
    changed = safetensors.numpy.load_file(BUNDLED)
    changed["conv1_1/bias"] = changed["conv1_1/bias"] + 1
    safetensors.numpy.save_file(changed, tmp_path / "other.safetensors")
    with pytest.raises(StartError, match="a set called mine is there already"):
        port_file(tmp_path / "other.safetensors", "mine")
    for name in ("bundled", "vgg16-in-vgg19", "vgg19-oxford", "../up", "a/b", ".a", "lpips-alex", "x.safetensors"):
        with pytest.raises(StartError, match="another --name|can't be a set's name"):
            port_file(BUNDLED, name)


@pytest.mark.parametrize("damage", ["altered", "truncated", "missing", "record"])
def test_a_damaged_set_is_never_used_and_can_be_ported_again(damage):
    path = port_file(BUNDLED, "mine")
    data = path.read_bytes()
    if damage == "altered":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "truncated":
        path.write_bytes(data[:-1])
    elif damage == "missing":
        path.unlink()
    else:
        path.with_suffix(".json").write_text("{}")
    reason = {"missing": "no such file", "record": "not a whole record"}.get(damage, damage)
    with pytest.raises(WeightsError, match=f"mine.*{reason}"):
        js.load_params("mine")
    if damage != "record":
        port_file(BUNDLED, "mine")
        js.load_params("mine")


def test_the_default_is_the_recommended_set_once_it_is_there():
    assert default_set()[0] == "vgg16-in-vgg19"
    assert "jaxstyle weights fetch vgg19-oxford" in default_set()[1]
    weights_folder().mkdir(parents=True)
    (weights_folder() / "vgg19-oxford.json").write_text("{}")
    assert default_set()[0] == "vgg19-oxford"
    with pytest.raises(WeightsError, match="weights 'vgg19-torchvision' are not in .* weights fetch vgg19-torchvision"):
        js.load_params("vgg19-torchvision")
