"""Read a TIFF's first picture. Pillow reads JPEG and fax compression, and our own code reads all else."""

import io

import numpy as np
from PIL import Image

from jaxstyle.app.image_files.colour_encoding import Encoding, find_usable
from jaxstyle.app.image_files.exif import encoding_or_note, load_tiff_exif, read_exif
from jaxstyle.app.image_files.pixel_values import (
    SEVERAL,
    Stored,
    Unusable,
    as_floats,
    reduce_16_bits,
    to_image,
    to_unit_range,
)
from jaxstyle.app.image_files.tiff.colours import (
    BLACK_IS_ZERO,
    CMYK,
    COLOURS,
    ICC_LAB,
    LAB,
    PROFILE,
    RGB,
    WHITE_IS_ZERO,
    YCBCR,
    find_colours,
)
from jaxstyle.app.image_files.tiff.samples import GENERIC, NONE, read_samples
from jaxstyle.app.image_files.tiff.tags import SAVE, Tags, find_layout, read_tags

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_BYTES = 16  # of a pixel at most: four channels of 32 bits
_FAX, _JPEG = (2, 3, 4), (6, 7)
_ASSOCIATED, _STRAIGHT = 1, 2
_CFA, _LINEAR_RAW, _DNG = 32803, 34892, 50706
_IGNORED = {301: "TransferFunction", 291: "GrayResponseCurve", 532: "ReferenceBlackWhite"}


def read_tiff(data: bytes, max_pixels: int, notes: list[str]) -> Stored:
    """Read the first picture.

    Args:
      data: the file's bytes, which begin with one of `MAGIC`.
      max_pixels: the most pixels that are read.
      notes: where notes are added.

    Raises:
      Unusable: if the file is damaged, or of a kind that can't be read.
      Image.DecompressionBombError: if the picture has more than `max_pixels` pixels.
    """
    tags = read_tags(data)
    w, h, photometric = tags.one(256, 0), tags.one(257, 0), tags.one(262, -1)
    if w < 1 or h < 1:
        raise Unusable("the TIFF is damaged: it has no pixels")
    if w * h > max_pixels:
        raise Image.DecompressionBombError(f"{w * h} pixels")
    if _DNG in tags.values or photometric in (_CFA, _LINEAR_RAW):
        raise Unusable("it is a raw photograph; develop it first, and save it as TIFF or JPEG")
    if tags.several:
        notes.append(SEVERAL)
    if tags.one(254, 0) & 1:
        notes.append("its first picture, which is taken, is said to be a smaller copy of another one")
    compression = tags.one(259, 1)
    _, exif, said = read_exif(lambda: load_tiff_exif(data), notes)
    turn = tags.one(274, 1)
    if compression in (*_FAX, *_JPEG):
        stored, turn = _let_pillow_read(data, tags, fax=compression in _FAX), 1
    elif compression == NONE or compression in GENERIC:
        stored = _read_own(data, tags, (h, w), _BYTES * max_pixels, notes)
    else:
        raise Unusable(f"it is a TIFF of a rare compression ({compression}); save it by LZW or Deflate")
    profile = tags.values.get(PROFILE)
    profile = profile if isinstance(profile, bytes) and photometric not in (LAB, ICC_LAB) else None
    encoding = None if profile else _find_encoding(tags, photometric, notes) or encoding_or_note(said, notes)
    return stored._replace(profile=profile, encoding=encoding, turn=turn if turn in range(1, 9) else 1, exif=exif)


def _let_pillow_read(data: bytes, tags: Tags, *, fax: bool) -> Stored:
    """Let Pillow read a picture of JPEG or fax compression, and turn it upright."""
    photometric, bits = tags.one(262, 1), set(tags.many(258, (1,)))
    known = (WHITE_IS_ZERO, BLACK_IS_ZERO) if fax else (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, YCBCR)
    plain = tags.one(277, 1) == COLOURS.get(photometric) and 338 not in tags.values and tags.one(284, 1) == 1
    if photometric not in known or not plain or bits != {1 if fax else 8}:
        raise Unusable(f"it is a TIFF of a rare kind of {'fax' if fax else 'JPEG'} compression; {SAVE}, by LZW")
    with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
        image.load()
        return Stored(image.convert("L") if image.mode == "1" else image.copy())


def _read_own(data: bytes, tags: Tags, size: tuple[int, int], limit: int, notes: list[str]) -> Stored:
    layout, photometric = find_layout(tags, size), tags.one(262, -1)
    if photometric == -1:
        photometric = RGB if layout.shape[2] >= 3 else BLACK_IS_ZERO
        notes.append(
            f"it doesn't say what its samples mean: they are taken as {'RGB' if photometric == RGB else 'gray'}"
        )
    colours = COLOURS.get(photometric, 0)
    if not colours or tags.one(332, 1) != 1:
        raise Unusable(f"it is a TIFF of colours that aren't known here; {SAVE}")
    if layout.shape[2] < colours:
        raise Unusable("the TIFF is damaged: it has fewer samples a pixel than colours")
    alpha, kind = _find_alpha(tags, layout.shape[2] - colours, notes)
    if kind == _ASSOCIATED and photometric not in (BLACK_IS_ZERO, RGB):
        raise Unusable(f"its colours are multiplied by its alpha, and are neither RGB nor gray from black; {SAVE}")
    samples = read_samples(data, layout, colours + alpha + 1, limit)
    if photometric == CMYK and alpha < 0 and layout.kind == "u" and (layout.bits, PROFILE in tags.values) in _INKS:
        inks = np.ascontiguousarray(samples if layout.bits == 8 else reduce_16_bits(samples))
        return Stored(Image.frombuffer("CMYK", (size[1], size[0]), inks, "raw", "CMYK", 0, 1))
    values = find_colours(photometric, samples[..., :colours], layout, tags, notes)
    if alpha >= 0:
        cover = to_unit_range(samples[..., -1:], layout.bits, [])
        same = cover.dtype == values.dtype
        values = np.concatenate([values, cover] if same else [as_floats(values), as_floats(cover)], -1)
    return Stored(to_image(values) if values.dtype == np.uint8 else values, premultiplied=kind == _ASSOCIATED)


_INKS = (
    (8, False),
    (8, True),
    (16, True),
)  # (bits, whether there is a profile): LittleCMS or Pillow converts such CMYK


def _find_alpha(tags: Tags, extra: int, notes: list[str]) -> tuple[int, int]:
    """Return which sample beside the colours is alpha, or -1 if none is, and which kind of alpha it is."""
    kinds = tags.many(338)[: max(0, extra)]
    found = next((i for i, kind in enumerate(kinds) if kind in (_ASSOCIATED, _STRAIGHT)), -1)
    if extra > (found >= 0):
        notes.append("it has channels beside its colours that aren't said to be alpha; they are ignored")
    return found, int(kinds[found]) if found >= 0 else 0


def _find_encoding(tags: Tags, photometric: int, notes: list[str]) -> Encoding | None:
    """Return the encoding that the tags of a picture without an ICC profile give."""
    for tag, name in _IGNORED.items():
        if tag in tags.values and (tag != 532 or photometric != YCBCR):
            notes.append(f"its {name} is ignored")
    if photometric != RGB or 319 not in tags.values:
        return None
    primaries = tags.many(318, (0.3127, 0.3290)) + tags.many(319)
    return find_usable(Encoding(primaries), "what it says of its colours (PrimaryChromaticities)", notes)
