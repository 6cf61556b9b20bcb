"""Write a small real TFDS dataset, as array_record by TFDS itself, or as TFRecord by hand."""

import io
import json
import struct

import numpy as np
from PIL import Image

SPLITS = {"train": 10, "test": 3}


def encoded_image(number, form="PNG"):
    pixels = np.random.default_rng(number).integers(0, 256, (20 + number % 3, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def build_dataset(folder, features=None, example=lambda i: {"image": encoded_image(i), "label": i % 3}):
    """Prepare tiny/plain:1.0.0 as array_record; images of the split test are numbered from 100."""
    import tensorflow_datasets as tfds

    features = features or {"label": tfds.features.ClassLabel(num_classes=3), "image": tfds.features.Image()}

    class Tiny(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="plain")]  # noqa: RUF012

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _):
            return {name: self._generate_examples(name) for name in SPLITS}

        def _generate_examples(self, name):
            first = 100 * (name == "test")
            # The number is the key, by whose hash TFDS orders the examples.
            yield from ((first + i, example(first + i)) for i in range(SPLITS[name]))

    builder = Tiny(data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    tfds.core.registered._DATASET_REGISTRY.pop("tiny")  # so that only the files know it
    return builder


def turn_into_tfrecord(builder, shards=2):
    """Write the same records as TFRecord shards, and dataset_info.json to match, instead of the array_record files."""
    folder = builder.data_path
    info = json.loads((folder / "dataset_info.json").read_text())
    info["fileFormat"] = "tfrecord"
    import tensorflow_datasets as tfds

    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    for split in info["splits"]:
        records = list(builder.as_data_source(split["name"], deserialize_method=raw))
        parts = [list(part) for part in np.array_split(np.array(records, object), shards)]
        split["shardLengths"] = [str(len(part)) for part in parts]
        split["filepathTemplate"] = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        for i, part in enumerate(parts):
            name = f"tiny-{split['name']}.tfrecord-{i:05d}-of-{shards:05d}"
            (folder / name).write_bytes(b"".join(map(frame, part)))
    for file in folder.glob("*.array_record-*"):
        file.unlink()
    (folder / "dataset_info.json").write_text(json.dumps(info))


def frame(data):
    """Make a record of TFRecord."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def masked_crc(data):
    """Compute the masked CRC-32C by long division of polynomials over GF(2), one bit at a time."""
    remainder = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            carry = (remainder ^ (byte >> bit)) & 1
            remainder = (remainder >> 1) ^ (0x82F63B78 * carry)
    crc = remainder ^ 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) % 2**32 + 0xA282EAD8) % 2**32
