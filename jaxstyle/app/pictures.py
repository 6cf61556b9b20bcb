"""The pictures of a job: read and checked, and made into what the lanes of a pair of them work on."""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle.app.data import Picture, load_source, share_shapes
from jaxstyle.app.decode import MAX_PIXELS
from jaxstyle.app.errors import StartError
from jaxstyle.app.images import STDIN, parse_background, resolve_path
from jaxstyle.app.settings import Settings
from jaxstyle.colour import match_colours, match_luminance, to_gray, with_colours_of
from jaxstyle.starts import STARTS, cover, starting_image

KINDS: tuple[str, ...] = ("content", "style", "blend", "start")
"""What a picture is in a job, as run folders name it."""


class Pictures(NamedTuple):
    """The pictures of a job, as used.

    Attributes:
      contents: the content images; of a texture, one canvas of its size.
      styles: the style images.
      blend: more style images, which every lane mixes with its own.
      start: the image to start from, if it is one of a file.
      skipped: {name: reason} of images that could not be used.
    """

    contents: list[Picture]
    styles: list[Picture]
    blend: list[Picture]
    start: Picture | None
    skipped: dict[str, str]

    def by_kind(self) -> dict[str, list[Picture]]:
        """{kind: pictures} of those that are there, as the run folder names them."""
        pictures = (self.contents, self.styles, self.blend, [self.start] if self.start else [])
        return {kind: found for kind, found in zip(KINDS, pictures, strict=True) if found}


def load_pictures(settings: Settings, smallest: int) -> Pictures:
    """Read the pictures that the settings name, at the sizes that they ask for.

    Args:
      settings: of the job.
      smallest: shortest side in pixels that the network's layers need.

    Raises:
      StartError: for the first that is wrong.
    """
    of_start = [] if settings.init in STARTS else [settings.init]
    if [settings.content, settings.style, *settings.blend, *of_start].count(STDIN) > 1:
        raise StartError("CONTENT and STYLE cannot both be standard input; give a file for one of them")
    load = partial(
        load_source,
        background=parse_background(settings.background),
        max_pixels=settings.max_pixels or MAX_PIXELS,
    )
    size, scale = settings.size, settings.style_scale
    if settings.content is None:
        if settings.init == "content":
            raise StartError("a texture has no content image to start from; give another --init")
        contents, skipped = [_canvas(size, smallest)], {}
    else:
        contents, skipped = load(settings.content, size, smallest=smallest)

    def show_scale(pixels: int) -> str:
        return f"--style-scale {pixels / size:.3g} ({pixels} pixels)" if scale != 1 else f"--size {pixels}"

    sources = [
        load(name, max(1, round(scale * size)), smallest=smallest, option=show_scale)
        for name in (settings.style, *settings.blend)
    ]
    styles = share_shapes([picture for source in sources for picture in source.pictures])
    count = len(sources[0].pictures)
    return Pictures(
        contents=share_shapes(contents),
        styles=styles[:count],
        blend=styles[count:],
        start=_load_start(settings.init, partial(load, size=size)) if of_start else None,
        skipped=dict(chain(skipped.items(), *(source.skipped.items() for source in sources))),
    )


def _canvas(size: int, smallest: int) -> Picture:
    if size < smallest:
        raise StartError(f"--size {size} is too small for the layers asked for: the smallest is {smallest}")
    return Picture("", np.full((size, size, 3), 0.5, np.float32), "")


def _load_start(name: str, load: partial) -> Picture:
    if name != STDIN:
        try:
            resolve_path(name)
        except StartError as error:
            raise StartError(f"--init {name} is neither {', '.join(STARTS)} nor an image: {error}") from error
    return load(name).pictures[0]


def content_image(pictures: Pictures, colour: str, content: int) -> jax.Array:
    """What stands for a content image in the objective: itself, or its luminance."""
    image = jnp.asarray(pictures.contents[content].image)
    return to_gray(image) if colour == "content" else image


def style_images(pictures: Pictures, colour: str, content: int, style: int) -> list[jax.Array]:
    """What stands for a style image and those of --blend, with a content image: in the colours asked for."""
    change = {"content": match_luminance, "match": match_colours}.get(colour)
    images = [jnp.asarray(picture.image) for picture in (pictures.styles[style], *pictures.blend)]
    return [change(image, jnp.asarray(pictures.contents[content].image)) for image in images] if change else images


def start_image(pictures: Pictures, init: str, content: jax.Array, style: jax.Array, seed: int) -> jax.Array:
    """The image (h, w, 3) that a lane starts from, for its content and style image as used in the objective."""
    if pictures.start is not None:
        return cover(jnp.asarray(pictures.start.image), content.shape[0], content.shape[1])
    return starting_image(init, content, style, jax.random.key(seed))


def finish_images(pictures: Pictures, colour: str, images: np.ndarray, contents: Sequence[int]) -> np.ndarray:
    """The lanes' final images (lanes, h, w, 3), for the numbers of their contents: with their colours if asked for."""
    if colour != "content":
        return images
    finish = jax.jit(with_colours_of)
    return np.stack([finish(image, pictures.contents[i].image) for image, i in zip(images, contents, strict=True)])
