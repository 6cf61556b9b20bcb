"""Pair content images with style images."""

from collections.abc import Sequence
from typing import TypeVar

from jaxstyle.app.system.errors import StartError

PAIRINGS: tuple[str, ...] = ("all", "zip")

_Content = TypeVar("_Content")
_Style = TypeVar("_Style")


def make_pairs(contents: Sequence[_Content], styles: Sequence[_Style], mode: str) -> list[tuple[_Content, _Style]]:
    """Pair contents with styles.

    Args:
      contents: pictures, or their numbers, or anything else.
      styles: the same.
      mode: "all" pairs every content with every style, content by content. "zip" pairs the first with the first and so
        on; if one side has a single picture, it goes with each of the other side.

    Raises:
      StartError: if the mode is unknown, or in "zip" if the numbers differ.
    """
    if mode not in PAIRINGS:
        raise StartError(f"unknown pairing {mode!r}; valid: {', '.join(PAIRINGS)}")
    if mode == "all" or 1 in (len(contents), len(styles)):
        return [(content, style) for content in contents for style in styles]
    if len(contents) != len(styles):
        raise StartError(f"to pair one by one, there are {len(contents)} content but {len(styles)} style images")
    return list(zip(contents, styles, strict=True))
