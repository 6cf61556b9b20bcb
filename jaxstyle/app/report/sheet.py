"""Draws the contact sheet of a run: content, style and the lanes, with labels."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

# 100 tiles make a sheet of at most 3,700 by 4,200 pixels, which every viewer opens and a person still reads.
MAX_LANES = 100
_MAX_INPUTS = 16
_TILE = 320
_ONE_ROW = 7
_LABEL_WIDTH = 200
_GAP = 12
_LABEL_LINES = 2
_FONT_SIZE = 16
_BACKGROUND, _INK, _FAINT, _ALARM = "#ffffff", "#202020", "#707070", "#c02020"


class Tile(NamedTuple):
    """A picture of the sheet with its label: the line `title`, and the fainter line `note` below it."""

    image: Image.Image
    title: str
    note: str = ""
    failed: bool = False


def even_sample(count: int, limit: int) -> list[int]:
    """Pick at most `limit` of the numbers 0 to count - 1, evenly spread, with the first and the last."""
    if count <= limit:
        return list(range(count))
    return [round(i * (count - 1) / (limit - 1)) for i in range(limit)]


def make_sheet(inputs: Sequence[Tile], lanes: Sequence[Tile], caption: str) -> Image.Image:
    """Draw `inputs` and after them `lanes` on one sheet, with `caption` below.

    Up to seven pictures stand in one row; more form a block about as wide as high. Pictures larger than a tile are
    scaled down, and none is scaled up. If there are more than MAX_LANES lanes or 16 inputs, an even sample of them is
    drawn, and the caption says so.
    """
    caption = "; ".join([caption, *_omissions(len(inputs), len(lanes))])
    inputs = [inputs[i] for i in even_sample(len(inputs), _MAX_INPUTS)]
    lanes = [lanes[i] for i in even_sample(len(lanes), MAX_LANES)]
    tiles = [tile._replace(image=_fit(tile.image)) for tile in (*inputs, *lanes)]
    width = max(_LABEL_WIDTH, *(tile.image.width for tile in tiles))
    height = max(tile.image.height for tile in tiles)
    columns = len(tiles) if len(tiles) <= _ONE_ROW else math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    font = ImageFont.load_default(_FONT_SIZE)
    line = round(_FONT_SIZE * 1.3)
    cell = (width + _GAP, height + _LABEL_LINES * line + _GAP)
    lines = _wrap(caption, font, columns * cell[0] - _GAP)
    sheet = Image.new("RGB", (columns * cell[0] + _GAP, rows * cell[1] + 2 * _GAP + len(lines) * line), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for i, tile in enumerate(tiles):
        x, y = _GAP + i % columns * cell[0], _GAP + i // columns * cell[1]
        sheet.paste(tile.image, (x, y + height - tile.image.height))
        draw.text((x, y + height + 4), _shorten(tile.title, font, width), _ALARM if tile.failed else _INK, font)
        draw.text((x, y + height + 4 + line), _shorten(tile.note, font, width), _FAINT, font)
    for i, text in enumerate(lines):
        draw.text((_GAP, sheet.height - _GAP - (len(lines) - i) * line), text, _FAINT, font)
    return sheet


def _omissions(inputs: int, lanes: int) -> list[str]:
    drawn = (("lanes", lanes, MAX_LANES), ("inputs", inputs, _MAX_INPUTS))
    return [f"{limit} of {count:,} {what} drawn, evenly spread" for what, count, limit in drawn if count > limit]


def _fit(image: Image.Image) -> Image.Image:
    if max(image.size) <= _TILE:
        return image
    image = image.copy()
    image.thumbnail((_TILE, _TILE), Image.Resampling.LANCZOS)
    return image


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Cut the text off, with an ellipsis, if it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return [_shorten(line, font, width) for line in lines]
