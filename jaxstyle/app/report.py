"""The contact sheet of a run: content, style and every lane, labelled."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

_TILE = 320
_ONE_ROW = 7
_LABEL_WIDTH = 200
_GAP = 12
_LABEL_LINES = 2
_FONT_SIZE = 16
_BACKGROUND, _INK, _FAINT, _ALARM = "#ffffff", "#202020", "#707070", "#c02020"


class Tile(NamedTuple):
    """A picture of the sheet with its label: a line of its setting, and a fainter one below."""

    image: Image.Image
    title: str
    note: str = ""
    failed: bool = False


def make_sheet(inputs: Sequence[Tile], lanes: Sequence[Tile], caption: str) -> Image.Image:
    """Draw `inputs` and after them `lanes` on one sheet, with `caption` below.

    Up to seven pictures stand in one row; more are laid out in a block about as wide as high. Pictures larger
    than a tile are scaled down, none is scaled up.
    """
    tiles = [*inputs, *lanes]
    width = max(_LABEL_WIDTH, *(_fit(tile.image).width for tile in tiles))
    height = max(_fit(tile.image).height for tile in tiles)
    columns = len(tiles) if len(tiles) <= _ONE_ROW else math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    font = ImageFont.load_default(_FONT_SIZE)
    line = round(_FONT_SIZE * 1.3)
    cell = (width + _GAP, height + _LABEL_LINES * line + _GAP)
    sheet = Image.new("RGB", (columns * cell[0] + _GAP, rows * cell[1] + 2 * _GAP + line), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for i, tile in enumerate(tiles):
        x, y = _GAP + i % columns * cell[0], _GAP + i // columns * cell[1]
        picture = _fit(tile.image)
        sheet.paste(picture, (x, y + height - picture.height))
        draw.text((x, y + height + 4), tile.title, _ALARM if tile.failed else _INK, font)
        draw.text((x, y + height + 4 + line), tile.note, _FAINT, font)
    draw.text((_GAP, sheet.height - _GAP - line), caption, _FAINT, font)
    return sheet


def _fit(image: Image.Image) -> Image.Image:
    if max(image.size) <= _TILE:
        return image
    image = image.copy()
    image.thumbnail((_TILE, _TILE), Image.Resampling.LANCZOS)
    return image
