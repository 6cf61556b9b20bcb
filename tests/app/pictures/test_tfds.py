import hashlib
import json
import re
import shutil
import socket
import sys

import numpy as np
import pytest
from PIL import Image

from jaxstyle.app.pictures.image_sources import load_source
from jaxstyle.app.system.errors import StartError
from tests.tiny_dataset import SPLITS, build_dataset, encoded_image, turn_into_tfrecord

tfds = pytest.importorskip("tensorflow_datasets", reason="the extra tfds is not installed")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Make two folders with the same records: {format: folder}."""
    first, second = (tmp_path_factory.mktemp(name) for name in ("array_record", "tfrecord"))
    build_dataset(first)
    turn_into_tfrecord(build_dataset(second))
    return {"array_record": first, "tfrecord": second}


@pytest.fixture(params=["array_record", "tfrecord"])
def folder(request, prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared[request.param]))
    return prepared[request.param]


@pytest.fixture
def own(prepared, folder, tmp_path, monkeypatch):
    """Copy a dataset to damage it; return the dataset's own folder in the copy."""
    shutil.copytree(folder, tmp_path / "data")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data" / "tiny" / "plain" / "1.0.0"


@pytest.fixture
def no_network(monkeypatch):
    """Let every attempt to reach another machine fail the test, also if the code would forgive it."""
    attempts = []

    def refuse(*args, **_):
        attempts.append(args)
        raise OSError("no network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert not attempts


def digest(data):
    return hashlib.sha256(data).hexdigest()


def fails(text, pattern):
    with pytest.raises(StartError, match=pattern) as caught:
        load_source(text, 64)
    assert "\n" not in str(caught.value)


def test_no_tensorflow_is_imported(folder):
    load_source("tfds:tiny/plain/train[:1]", 64)
    assert "tensorflow" not in sys.modules


def test_all_images_are_read(folder, no_network):
    source = load_source("tfds:tiny/plain/train", 64)
    assert source.skipped == {}
    assert [p.name for p in source.pictures] == [f"tiny/plain/train#{i}" for i in range(10)]
    numbers = {digest(encoded_image(i)): i for i in range(10)}
    found = [numbers[p.sha256] for p in source.pictures]
    assert sorted(found) == list(range(10))
    for number, picture in zip(found, source.pictures, strict=True):
        pixels = np.random.default_rng(number).integers(0, 256, (20 + number % 3, 24, 3), dtype=np.uint8)
        np.testing.assert_array_equal(np.round(picture.image * 255), pixels)


def test_both_formats_keep_the_order(prepared, monkeypatch):
    orders = []
    for folder in prepared.values():
        monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
        orders.append([p.sha256 for p in load_source("tfds:tiny/train+test", 64).pictures])
    assert orders[0] == orders[1]


@pytest.mark.parametrize(
    ("text", "train", "test_part"),
    [
        ("tiny/plain/train[:3]", range(3), range(0)),
        ("tiny/train[7:]", range(7, 10), range(0)),
        ("tiny/train[-2:]", range(8, 10), range(0)),
        ("tiny/plain:1.0.0/train[20%:50%]", range(2, 5), range(0)),
        ("tiny/plain:1.*.*/test", range(0), range(3)),
        ("tiny/train[4:6]+test[1:]", range(4, 6), range(1, 3)),
        ("tiny/all", range(10), range(3)),
    ],
)
def test_slices(folder, text, train, test_part):
    whole = {p.name: p.sha256 for p in load_source("tfds:tiny/train+test", 64).pictures}
    found = load_source(f"tfds:{text}", 64).pictures
    names = [f"tiny/plain/train#{i}" for i in train] + [f"tiny/plain/test#{i}" for i in test_part]
    assert [p.name for p in found] == names
    assert [p.sha256 for p in found] == [whole[name] for name in names]
    assert [load_source(p.source, 64).pictures[0].name for p in found] == names


def test_what_a_split_has_not_got(folder):
    fails("tfds:tiny/train[:11]", r"tfds:tiny/train\[:11\]: Requested slice \[:11\] incompatible with 10 examples")
    fails("tfds:tiny/dev", r"Unknown split 'dev'. Should be one of \['train', 'test'\]")
    fails("tfds:tiny/train[:200%]", r"in \[-100, 100\]")
    fails("tfds:tiny/train[3]", "only support slice")
    fails("tfds:tiny/train[", "Unrecognized split format")
    for nothing in ("[:0]", "[5:3]", "[:0%]", "[5:3]+test"):
        fails(f"tfds:tiny/train{nothing}", "cannot read tfds:.*: a slice of it holds no image")


def test_names_of_another_form(folder):
    for text in ("tfds:", "tfds:tiny", "tfds:/train", "tfds:kubric:tiny/train", "tfds:a/b/c/train", "tfds:../x/train"):
        fails(text, re.escape(f"{text} is not tfds:NAME"))


def test_versions_and_configurations_that_are_not_there(folder, no_network):
    for text in ("tiny:2.0.0/train", "tiny/other/train", "tiny/plain:9.0.0/train"):
        fails(f"tfds:{text}", rf"there is no {text[:-6]} in {folder}, only tiny/plain/1.0.0$")


def test_not_prepared_names_the_command_and_the_size(folder, no_network):
    fails(
        "tfds:oxford_flowers102/train[:8]",
        rf"^oxford_flowers102 is not prepared in {folder}; this prepares it from the download \(345 MB\): "
        r"python -c \"import tensorflow_datasets as tfds; tfds.builder\('oxford_flowers102', "
        r"file_format='array_record'\).download_and_prepare\(\)\"",
    )
    fails("tfds:imagenet_v2/train", r"imagenet_v2 is not prepared .*\(up to 3.8 GB\)")
    fails("tfds:imagenet2012/train", "imagenet2012 is not prepared .* fetch by hand as https://.*/imagenet2012 says")
    fails("tfds:voc/2007x/train", "voc has no configuration 2007x; https://.*/voc lists them")


def test_unknown_dataset(folder, no_network):
    fails("tfds:oxford_flower102/train", "no dataset oxford_flower102 in .*; did you mean oxford_flowers102?")
    fails("tfds:zzzzz/train", "no dataset zzzzz in .* lists those it knows")


def test_missing_packages(folder, own, monkeypatch):
    needed = {"array_record": "array_record.python.array_record_data_source", "tfrecord": "google_crc32c"}
    form = json.loads((own / "dataset_info.json").read_text())["fileFormat"]
    if form == "tfrecord":  # TFDS keeps array_record's module once it is imported
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, needed[form], None)
            fails("tfds:tiny/train", r'^tfds:tiny/train needs the extra tfds: pip install "jaxstyle\[tfds\]"')
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    fails("tfds:tiny/train", r'^tfds:tiny/train needs the extra tfds: pip install "jaxstyle\[tfds\]"')


def test_damaged_files(own):
    (shard, *_) = sorted(own.glob("tiny-train*"))
    good = shard.read_bytes()
    for bad in (
        b"",
        good[:1000],
        good[: len(good) // 2],
        b"hello" * 30000,
        bytes([*good[:900], good[900] ^ 255]) + good[901:],
    ):
        shard.write_bytes(bad)
        fails("tfds:tiny/train", "cannot read .*(damaged|ends after)")
    shard.unlink()
    fails("tfds:tiny/train", "cannot read .*[Nn]o such file")
    (own / "dataset_info.json").write_text("{")
    fails("tfds:tiny/train", "cannot read tiny in .*data")


def test_a_format_that_is_not_read(own):
    info = json.loads((own / "dataset_info.json").read_text())
    (own / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "riegeli"}))
    fails("tfds:tiny/train", "it is prepared as riegeli; prepare it as array_record")


def test_images_that_cannot_be_used_are_skipped(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    build_dataset(tmp_path, example=lambda i: {"image": encoded_image(i)[: 400 if i == 3 else None], "label": 0})
    capsys.readouterr()
    source = load_source("tfds:tiny/train", 64, smallest=21)
    assert len(source.pictures) == sum(i % 3 != 0 for i in range(10))
    reasons = sorted(source.skipped.values())
    assert reasons[:3] == ["24x20 pixels, fewer than the 21 a side that the layers need"] * 3
    assert "truncated or damaged" in reasons[3]
    assert all(re.fullmatch(r"tiny/plain/train#\d", name) for name in source.skipped)
    assert re.fullmatch(
        r"skipped 4 of 10 in tfds:tiny/train: .*\n6 of 6 images in tfds:tiny/train are smaller .*\n",
        capsys.readouterr().err,
    )


def test_palette_and_deep_gray_are_decoded_by_pillow(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    palette = Image.new("P", (4, 2))
    palette.putpalette([255, 0, 0])
    palette.save(tmp_path / "p.png")
    Image.fromarray(np.full((4, 2), 0x8080, np.uint16)).save(tmp_path / "g.png")
    names = ["p.png", "g.png"]
    build_dataset(tmp_path, example=lambda i: {"image": (tmp_path / names[i % 2]).read_bytes(), "label": 0})
    found = {p.sha256: p.image for p in load_source("tfds:tiny/train", 64).pictures}
    np.testing.assert_array_equal(found[digest((tmp_path / "p.png").read_bytes())], np.ones((2, 4, 3)) * [1, 0, 0])
    gray = found[digest((tmp_path / "g.png").read_bytes())]
    np.testing.assert_allclose(gray, np.full((4, 2, 3), 0x8080 / 65535), atol=1e-6)


def test_which_feature_is_the_image(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    features = {
        "a_mask": tfds.features.LabeledImage(labels=2),
        "b_depth": tfds.features.Image(shape=(None, None, 1)),
        "photo": tfds.features.Image(),
        "z_other": tfds.features.Image(),
    }
    builder = build_dataset(
        tmp_path, features, lambda i: {name: encoded_image(i if name == "photo" else 50 + i) for name in features}
    )
    # Float images can't be encoded without TensorFlow, but their files are of the same kind.
    file = builder.data_path / "features.json"
    description = json.loads(file.read_text())
    description["featuresDict"]["features"]["b_depth"]["image"]["dtype"] = "float32"
    file.write_text(json.dumps(description))
    found = {p.sha256 for p in load_source("tfds:tiny/train", 64).pictures}
    assert found == {digest(encoded_image(i)) for i in range(SPLITS["train"])}


def test_no_image_feature(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    build_dataset(tmp_path, {"text": tfds.features.Text(), "label": np.int64}, lambda i: {"text": "a", "label": i})
    fails("tfds:tiny/train", r"cannot read tfds:tiny/train: its examples hold no image, only label, text$")


def test_more_than_fit_in_memory(folder, monkeypatch):
    monkeypatch.setattr("jaxstyle.app.pictures.image_sources._MAX_PIXELS", 4 * 64**2)
    assert len(load_source("tfds:tiny/train[:4]", 64).pictures) == 4
    fails(
        "tfds:tiny/train[2:]",
        r"train\[2:\] holds 8 images, more than the 4 of --size 64 .* take fewer, as tfds:tiny/train\[:4\],",
    )
