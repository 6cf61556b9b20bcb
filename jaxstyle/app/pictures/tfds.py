"""Read images of a split of TensorFlow Datasets that is on disk already, without TensorFlow and without a network."""

import contextlib
import difflib
import io
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxstyle.app.pictures.tfrecord import read_records
from jaxstyle.app.system.errors import AppError, StartError
from jaxstyle.common.file_kinds import describe_address

PREFIX = "tfds:"

_SPEC = re.compile(
    r"tfds:(?P<dataset>(?P<name>\w+)(?:/(?P<config>[\w.-]+))?(?::(?P<version>[\d*]+\.[\d*]+\.[\d*]+))?)/(?P<split>[^/]+)"
)
_CATALOG = "https://www.tensorflow.org/datasets/catalog"


class Split(NamedTuple):
    """A split, or a slice of one.

    Attributes:
      names: names of the images, as oxford_flowers102/train#3, counted from the start of the whole split.
      sources: what names each image alone, as tfds:oxford_flowers102/train[3:4].
      images: the images' encoded files, read one by one.
      base: the first whole split that it belongs to, as tfds:oxford_flowers102/train.
    """

    names: list[str]
    sources: list[str]
    images: Iterator[bytes]
    base: str


def open_split(text: str) -> Split:
    """Find the images that tfds:NAME[/CONFIG][:VERSION]/SPLIT names.

    TFDS keeps datasets in the folder that the environment variable TFDS_DATA_DIR names, or in ~/tensorflow_datasets.
    SPLIT is in TFDS's syntax: train, train[:8], test[10%:20%], train+test. The image of an example is its feature
    `image`; without one, it is the first feature by name that holds images of 8 or 16 bits and isn't a mask.

    Raises:
      StartError: if the text has another form, a package is missing, or the dataset is unknown, isn't prepared, has no
        images or has no such split. While images are read, damaged files raise it.
    """
    match = _SPEC.fullmatch(text)
    if match is None:
        raise StartError(f"{text} is not tfds:NAME[/CONFIG][:VERSION]/SPLIT, as in tfds:oxford_flowers102/train[:8]")
    try:
        with _silence():
            import tensorflow_datasets as tfds
    except ImportError as error:
        raise _missing_package(text, error) from error
    place = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    if address := describe_address(place):
        raise StartError(f"cannot read {text}: TFDS_DATA_DIR={address}")
    try:
        folder = Path(place).expanduser()
    except RuntimeError as error:
        raise StartError(f"cannot read {text}: there is no home folder; TFDS_DATA_DIR can name the folder") from error
    builder = _find_builder(tfds, match, folder)
    feature = _find_image_feature(tfds, builder, text)
    try:
        parts = tfds.core.ReadInstruction.from_spec(match["split"]).to_absolute(builder.info.splits)
    except Exception as error:  # it may be ValueError, AssertionError or NotImplementedError
        reason = str(error).splitlines()[-1] if str(error) else repr(error)
        raise StartError(f"cannot read {text}: {reason}") from error
    dataset = "/".join(filter(None, (match["name"], builder.info.config_name)))
    lengths = {name: split.num_examples for name, split in builder.info.splits.items()}
    ranges = [range(part.from_ or 0, lengths[part.splitname] if part.to is None else part.to) for part in parts]
    if not all(ranges):
        raise StartError(f"cannot read {text}: a slice of it holds no image")
    places = [(part.splitname, i) for part, numbers in zip(parts, ranges, strict=True) for i in numbers]
    names = [f"{dataset}/{split}#{i}" for split, i in places]
    sources = [f"{PREFIX}{match['dataset']}/{split}[{i}:{i + 1}]" for split, i in places]
    images = _read_images(tfds, builder, text, match["split"], feature)
    return Split(names, sources, images, f"{PREFIX}{match['dataset']}/{parts[0].splitname}")


def _missing_package(text: str, error: ImportError) -> StartError:
    return StartError(f'{text} needs the extra tfds: pip install "jaxstyle[tfds]" ({error})')


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress what TFDS logs and prints beside raising an error."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(level)


def _find_builder(tfds: Any, match: re.Match[str], folder: Path) -> Any:
    # tfds.builder would run the dataset's own code if it knows it. That code may need TensorFlow, and knows one version
    # only. The files alone say all that reading needs.
    from tensorflow_datasets.core.read_only_builder import builder_from_files

    try:
        with _silence():
            return builder_from_files(match["dataset"], data_dir=folder)
    except tfds.core.DatasetNotFoundError:
        raise StartError(_explain_missing(tfds, match, folder)) from None
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise StartError(f"cannot read {match['dataset']} in {folder}: {reason}") from error


def _explain_missing(tfds: Any, match: re.Match[str], folder: Path) -> str:
    """Say why a dataset isn't on disk and what to do. TFDS's package holds its own list and checksums."""
    dataset, name = match["dataset"], match["name"]
    size, configs, by_hand = 0, {}, None
    try:
        with _silence():
            code = tfds.builder_cls(name)
            size = sum(info.size or 0 for info in (code.url_infos or {}).values())
            configs, by_hand = code.builder_configs, code.MANUAL_DOWNLOAD_INSTRUCTIONS
    except tfds.core.DatasetNotFoundError:
        found = sorted(str(file.parent.relative_to(folder)) for file in (folder / name).rglob("dataset_info.json"))
        if found:
            return f"there is no {dataset} in {folder}, only {', '.join(found)}"
        with _silence():
            near = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False), 1)
        hint = f"did you mean {near[0]}?" if near else f"{_CATALOG} lists those it knows"
        return f"there is no dataset {dataset} in {folder}, and TFDS knows none of this name; {hint}"
    except ImportError:  # the dataset's code needs TensorFlow
        pass
    if match["config"] and configs and match["config"] not in configs:
        return f"{name} has no configuration {match['config']}; {_CATALOG}/{name} lists them"
    download = "the download"
    if size:
        most = "up to " if len(configs) > 1 else ""
        download += f" ({most}{size / 1e9:.1f} GB)" if size > 1e9 else f" ({most}{size / 1e6:.0f} MB)"
    if by_hand:
        download = f"what you fetch by hand as {_CATALOG}/{name} says"
    return (
        f"{dataset} is not prepared in {folder}; this prepares it from {download}: "
        'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{dataset}', file_format='array_record').download_and_prepare()\""
        " (for some datasets, after pip install tensorflow)"
    )


def _find_image_feature(tfds: Any, builder: Any, text: str) -> str:
    features = builder.info.features
    # They are sorted, since TFDS reads them from a file in no certain order.
    fields = dict(sorted(features.items())) if isinstance(features, tfds.features.FeaturesDict) else {}
    # Features of float32 hold depths and the like, in files where the bytes of a pixel are one number.
    images = [
        name
        for name, feature in fields.items()
        if isinstance(feature, tfds.features.Image)
        and not isinstance(feature, tfds.features.LabeledImage)
        and feature.np_dtype.kind == "u"
    ]
    if not images:
        raise StartError(f"cannot read {text}: its examples hold no image, only {', '.join(fields) or 'one array'}")
    return "image" if "image" in images else images[0]


def _read_images(tfds: Any, builder: Any, text: str, split: str, feature: str) -> Iterator[bytes]:
    only = tfds.features.FeaturesDict({feature: builder.info.features[feature]})
    # Images stay encoded: TFDS's own decoder gets 16-bit, palette and CMYK images wrong.
    skip = {feature: tfds.decode.SkipDecoding()}
    try:
        for record in _read_split(tfds, builder, split):
            if not record:  # array_record reads it from a shard that was cut at a certain place
                raise ValueError("empty record")
            yield only.deserialize_example_np(record, decoders=skip)[feature]
    except AppError:
        raise
    except ImportError as error:
        raise _missing_package(text, error) from error
    except Exception as error:  # array_record and protobuf have errors of their own
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise StartError(
            f"cannot read {builder.data_path}: its files are damaged ({reason}); prepare it again"
        ) from error


def _read_split(tfds: Any, builder: Any, split: str) -> Iterator[bytes]:
    form = builder.info.file_format.value
    if form == "array_record":
        yield from builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
    elif form == "tfrecord":
        for part in builder.info.splits[split].file_instructions:
            yield from read_records(Path(part.filename), part.skip, part.take)
    else:
        raise StartError(f"cannot read {builder.data_path}: it is prepared as {form}; prepare it as array_record")
