"""Test what errors call files and names; one module recognises them for all readers."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image

import jaxstyle as js
from jaxstyle.app.cli import call
from jaxstyle.app.image_files.decode import decode
from jaxstyle.app.system.errors import AppError, StartError
from jaxstyle.app.weights.store import port_file
from jaxstyle.common.file_kinds import describe_address, recognise
from jaxstyle.pretrained.weight_files import WeightsError
from tests.command import fails, jaxstyle

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 574673361\n"
PAGE = b"\r\n<!doctype HTML><html><head><title>Sign in</title>"


def archive(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, "x")
    return buffer.getvalue()


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, x=np.ones(3))
    return buffer.getvalue()


def image(kind):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, kind)
    return buffer.getvalue()


KINDS = {
    "empty": b"",
    "a Git LFS pointer, which stands for a file": LFS,
    "a git-annex pointer, which stands for a file": b"/annex/objects/SHA256E-s5--0.jpg\n",
    "a web page": PAGE,
    "an SVG drawing": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "an XML document": b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>',
    "JSON text": b'{"message": "Not Found"}',
    "text": "Motiv: Café\n".encode() * 99,
    "a file of torch.save": archive("vgg19/data.pkl"),
    "an .npz archive of NumPy": npz(),
    "a Keras model": archive("metadata.json"),
    "a ZIP archive": archive("a.txt"),
    "a document of Excel or Word": archive("[Content_Types].xml"),
    "a pickle of Python": pickle.dumps({"a": 1}),
    "an HDF5 file, as Keras writes": b"\x89HDF\r\n\x1a\n" + bytes(99),
    "a file of msgpack, as Flax writes": b"\x82\xa6params\x80",
    "a safetensors file": (64).to_bytes(8, "little") + b'{"a":' + b" " * 99,
    "a PDF document": b"%PDF-1.7\n%\xe2\xe3",
    "a gzip archive": b"\x1f\x8b\x08" + bytes(9),
    **{f"a {kind} image": image(kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF")},
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds(name):
    assert recognise(KINDS[name]).name == name
    assert recognise(KINDS[name][:512]).name == name


@pytest.mark.parametrize("data", [bytes(40), b"\0\1\2" * 30, b"\xff" * 40, bytes(range(128, 250))])
def test_what_is_of_no_kind(data):
    assert recognise(data) is None


@pytest.mark.parametrize("name", [name for name in KINDS if name != "empty" and not recognise(KINDS[name]).image])
def test_every_reader_says_what_a_file_is(tmp_path, name):
    file = tmp_path / "file.safetensors"
    file.write_bytes(KINDS[name])
    kind = recognise(KINDS[name])
    with pytest.raises(StartError) as of_image:
        decode(KINDS[name], "x.jpg")
    with pytest.raises(WeightsError) as of_weights:
        js.load_params(file)
    messages = [str(of_image.value), str(of_weights.value)]
    if not kind.weights:
        with pytest.raises(StartError) as of_port:
            port_file(file)
        messages.append(str(of_port.value))
    for message in messages:
        assert "\n" not in message
        assert kind.name in message or (name == "a safetensors file" and "not a whole safetensors file" in message)
        assert kind.advice in message
    if kind.weights and name != "a safetensors file":
        assert str(of_weights.value).endswith(f"jaxstyle weights port {file} brings it into the form of a set")


def test_a_bundled_file_that_is_a_pointer(tmp_path, monkeypatch):
    (tmp_path / "vgg16-in-vgg19.safetensors").write_bytes(LFS)
    monkeypatch.setattr("jaxstyle.pretrained.weight_files.bundled_path", lambda file: tmp_path / file)
    with pytest.raises(WeightsError, match=r"it is a Git LFS pointer, which stands for a file; git lfs pull brings"):
        js.load_params()


ADDRESSES = {
    "https://example.org/a.jpg": "a web address",
    "HTTP://example.org": "a web address",
    "s3://bucket/key": "the address of a bucket",
    "gs://bucket/key": "the address of a bucket",
    "sftp://host/file": "a network address",
    "file:///home/me/my%20caf%C3%A9.jpg": "a URL of a file: give its path, /home/me/my café.jpg",
    "file://host/a": "a URL of a file: give its path, /a",
}


def test_addresses():
    for name, what in ADDRESSES.items():
        for output in (False, True):
            found = describe_address(name, output=output)
            assert found.startswith(f"{name} is {what}")
            assert "\n" not in found
    names = ("a.jpg", "sample:cat", "tfds:mnist/train", "C:\\a", "c://a", "-", "", "a/b:c//d", "random:0", "0.01:10:7")
    assert [describe_address(name) for name in names] == [None] * len(names)


def commands(address):
    sweep = ["sweep", "sample:cat", "sample:swirls"]
    yield ["sweep", address, "sample:swirls"]
    yield ["transfer", "sample:cat", address, "-o", "o.png"]
    for option in ("--blend", "--content-mask", "--init", "--weights", "--grid", "--out", "--log-json"):
        yield [*sweep, option, address]
    yield ["transfer", "sample:cat", "sample:swirls", "-o", address]
    for command in ("select", "resume", "report", "merge"):
        yield [command, address]
    yield ["select", "run", "--best-to", address]
    yield ["animate", address, "-o", "a.webp"]
    yield ["weights", "port", address]
    yield ["weights", "normalise", "bundled", address]


def test_an_address_is_refused_wherever_a_name_is_wanted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in commands("s3://bucket/key"):
        fails(capsys, 2, "^jaxstyle: s3://bucket/key is the address of a bucket", *words)
        with pytest.raises(StartError, match="s3://bucket/key is the address of a bucket"):
            call(words)
    assert list(tmp_path.iterdir()) == []


def test_functions_refuse_addresses():
    from jaxstyle.app.pictures.read_image import read_image

    for function in (js.load_params, js.load_run, read_image, port_file):
        with pytest.raises((AppError, WeightsError), match="https://a/b is a web address, .*: download it"):
            function("https://a/b")


def test_datasets_in_a_bucket(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorflow_datasets", reason="the extra tfds is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", "gs://bucket/data")
    reason = "tfds:mnist/train: TFDS_DATA_DIR=gs://bucket/data is the address of a bucket, .*: download it"
    fails(capsys, 2, reason, "sweep", "tfds:mnist/train", "sample:swirls")
    assert jaxstyle("weights", "normalise", "random:0", "tfds:mnist/train") == 2
