"""The pictures of a job: read and checked, and made into what the lanes of a pair of them work on."""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle.app.image_files.decode import MAX_PIXELS
from jaxstyle.app.pictures.image_sources import Picture, load_source
from jaxstyle.app.pictures.masks import as_array, check_counts, load_masks, own_regions
from jaxstyle.app.pictures.read_image import STDIN, parse_background, resolve_path
from jaxstyle.app.pictures.shared_shapes import share_shapes
from jaxstyle.app.settings.settings import Settings
from jaxstyle.app.system.errors import StartError
from jaxstyle.colour import match_colours, match_luminance, to_gray, with_colours_of
from jaxstyle.objective.regions import content_masks, layer_masks, layer_sizes, style_masks
from jaxstyle.optimise.initial_images import STARTS, cover, starting_image

KINDS: tuple[str, ...] = ("content", "style", "blend", "start", "content_mask", "style_mask")
"""What a picture is in a job, as run folders name it."""


class Pictures(NamedTuple):
    """The pictures of a job, as used.

    Attributes:
      contents: the content images; of a texture, one canvas of its size.
      styles: the style images.
      blend: more style images, which every lane mixes with its own.
      start: the image to start from, if it is one of a file.
      content_masks: one a region of the content image, of its shape; none if the style goes everywhere.
      style_masks: one a region of the style image, then of each of `blend`; none if each is all of one region.
      skipped: {name: reason} of images that could not be used.
    """

    contents: list[Picture]
    styles: list[Picture]
    blend: list[Picture]
    start: Picture | None
    content_masks: list[Picture]
    style_masks: list[Picture]
    skipped: dict[str, str]

    def by_kind(self) -> dict[str, list[Picture]]:
        """{kind: pictures} of those that are there, as the run folder names them."""
        start = [self.start] if self.start else []
        pictures = (self.contents, self.styles, self.blend, start, self.content_masks, self.style_masks)
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
    styles = [picture for source in sources for picture in source.pictures]
    count = len(sources[0].pictures)
    check_counts(settings, len(contents), count, len(styles) - count)
    if not settings.style_mask:
        styles = share_shapes(styles)
    read_masks = partial(load_masks, max_pixels=settings.max_pixels)
    of_style, regions = settings.style_mask, len(settings.content_mask)
    pictures = Pictures(
        contents=share_shapes(contents),
        styles=styles[:count],
        blend=styles[count:],
        start=_load_start(settings.init, partial(load, size=size)) if of_start else None,
        content_masks=read_masks(settings.content_mask, contents[0]),
        style_masks=[
            mask
            for i in range(0, len(of_style), max(regions, 1))
            for mask in read_masks(of_style[i : i + regions], styles[i // regions])
        ],
        skipped=dict(chain(skipped.items(), *(source.skipped.items() for source in sources))),
    )
    if pictures.content_masks:
        _check_regions(pictures, settings.style_layers)
    return pictures


def _check_regions(pictures: Pictures, layers: Sequence[str]) -> None:
    """Raise StartError for a region that is empty in an image at one of the style layers."""
    images = [jnp.asarray(picture.image) for picture in (pictures.styles[0], *pictures.blend)]
    try:
        content = jnp.asarray(pictures.contents[0].image)
        content_masks(as_array(pictures.content_masks), content, layer_sizes(layers, content.shape))
        style_masks(style_regions(pictures, 0), images, [layer_sizes(layers, image.shape) for image in images])
    except ValueError as error:
        raise StartError(f"{error}; a mask is white where its region is") from error


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


def content_regions(pictures: Pictures, layers: Sequence[str]) -> dict[str, jax.Array] | None:
    """`StackedTargets.masks` of the content image, of which there is one then; None without --content-mask."""
    if not pictures.content_masks:
        return None
    masks = as_array(pictures.content_masks)
    found = layer_masks(masks, layer_sizes(layers, masks.shape[1:]))
    return {layer: mask[None] for layer, mask in found.items()}


def style_regions(pictures: Pictures, style: int) -> list[jax.Array] | None:
    """Masks (regions, h, w) of a style image and of each of --blend; None without --content-mask."""
    masks, regions = pictures.style_masks, len(pictures.content_masks)
    if masks:
        return [as_array(masks[i : i + regions]) for i in range(0, len(masks), regions)]
    return own_regions([p.image.shape for p in (pictures.styles[style], *pictures.blend)]) if regions else None


def finish_images(
    pictures: Pictures, colour: str, images: Iterable[np.ndarray], contents: Iterable[int]
) -> list[np.ndarray]:
    """The lanes' images (h, w, 3), for the numbers of their contents: with the contents' colours if asked for."""
    if colour != "content":
        return list(images)
    finish = jax.jit(with_colours_of)
    return [np.asarray(finish(image, pictures.contents[i].image)) for image, i in zip(images, contents, strict=True)]
