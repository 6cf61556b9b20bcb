"""The pictures of a job: how they are read and checked, and what the lanes of each pair make of them."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle.app.image_files.decode import MAX_PIXELS
from jaxstyle.app.pictures.image_sources import Picture, Source, load_source
from jaxstyle.app.pictures.masks import as_array, check_counts, load_masks, own_regions
from jaxstyle.app.pictures.read_image import STDIN, parse_background, resolve_path
from jaxstyle.app.pictures.shared_shapes import share_shapes
from jaxstyle.app.settings.lane_settings import LaneValues
from jaxstyle.app.settings.settings import LUMINANCE, Settings
from jaxstyle.app.system.errors import StartError
from jaxstyle.colour import match_colours, match_luminance, to_gray, with_colours_of
from jaxstyle.objective.regions import content_masks, layer_masks, style_masks
from jaxstyle.optimise.initial_images import STARTS, cover, starting_image
from jaxstyle.optimise.pyramid import resize

KINDS: tuple[str, ...] = ("content", "style", "blend", "start", "content_mask", "style_mask")
"""The kinds of pictures in a job, as run folders name them."""


SizesOf = Callable[[jax.Array], dict[str, tuple[int, int]]]
"""Returns the heights and widths of layers, by name, for an image (h, w, 3)."""


class StyleSet(NamedTuple):
    """The style images at one scale.

    Attributes:
      styles: the images of STYLE.
      blend: more style images, which every lane mixes with its own.
      masks: one for each region of the style image, then of each image of `blend`; none if each image is one region.
    """

    styles: list[Picture]
    blend: list[Picture]
    masks: list[Picture]


class StyleChoice(NamedTuple):
    """The style images of a lane. Lanes with equal choices share their style targets.

    Attributes:
      content: the number of the content image whose colours they take; None if they keep their own.
      style: the number of the image of STYLE.
      scale: their scale.
    """

    content: int | None
    style: int
    scale: float


class Pictures(NamedTuple):
    """The pictures of a job, as used.

    Attributes:
      contents: the content images; a texture has one canvas of its size.
      style_sets: the style images at each scale that a lane has, from the smallest scale on.
      start: the image to start from, if it is read from a file.
      content_masks: one for each region of the content image, with its shape; none if the style goes everywhere.
      skipped: {name: reason} of images that could not be used.
    """

    contents: list[Picture]
    style_sets: dict[float, StyleSet]
    start: Picture | None
    content_masks: list[Picture]
    skipped: dict[str, str]

    @property
    def largest(self) -> StyleSet:
        """The style images at the largest scale. The run folder holds them, and metrics compare with them."""
        return self.style_sets[max(self.style_sets)]

    def by_kind(self) -> dict[str, list[Picture]]:
        """Return {kind: pictures} for the kinds that are there, as the run folder names them."""
        start = [self.start] if self.start else []
        styles, blend, style_masks = self.largest
        pictures = (self.contents, styles, blend, start, self.content_masks, style_masks)
        return {kind: found for kind, found in zip(KINDS, pictures, strict=True) if found}


def load_pictures(settings: Settings, lanes: Sequence[LaneValues], smallest: int, sizes_of: SizesOf) -> Pictures:
    """Read the pictures that the settings name, at the sizes that they and the lanes ask for.

    Args:
      settings: of the job.
      lanes: what the lanes of one pair of images are set to.
      smallest: shortest side in pixels that the network's layers need.
      sizes_of: returns the heights and widths of the style layers, by name, for an image (h, w, 3).

    Raises:
      StartError: for the first thing that is wrong.
    """
    from_file = [] if settings.init in STARTS else [settings.init]
    if [settings.content, settings.style, *settings.blend, *from_file].count(STDIN) > 1:
        raise StartError("CONTENT and STYLE cannot both be standard input; give a file for one of them")
    load = partial(
        load_source,
        background=parse_background(settings.background),
        max_pixels=settings.max_pixels or MAX_PIXELS,
    )
    size = settings.size
    if settings.colour == "mapped" and settings.content_mask:
        raise StartError("--colour mapped maps the whole picture's colours: leave --content-mask out, or take another")
    if settings.content is None:
        if settings.init == "content":
            raise StartError("a texture has no content image to start from; give another --init")
        contents, skipped = [_canvas(size, smallest)], {}
    else:
        contents, skipped = load(settings.content, size, smallest=smallest)
    scales = sorted({choose_style(settings, {"content": 0, "style": 0, **lane}).scale for lane in lanes})
    sources = _load_styles(settings, scales, partial(load, smallest=smallest))
    of_style, *of_blend = sources[scales[0]]
    check_counts(settings, len(contents), len(of_style.pictures), sum(len(source.pictures) for source in of_blend))
    pictures = Pictures(
        contents=share_shapes(contents),
        style_sets={scale: _make_style_set(settings, found) for scale, found in sources.items()},
        start=_load_start(settings.init, partial(load, size=size)) if from_file else None,
        content_masks=load_masks(settings.content_mask, contents[0], max_pixels=settings.max_pixels),
        skipped=dict(chain(skipped.items(), *(source.skipped.items() for source in sources[scales[0]]))),
    )
    if pictures.content_masks:
        _check_regions(pictures, sizes_of)
    return pictures


def choose_style(settings: Settings, lane: LaneValues) -> StyleChoice:
    """Return which style images a lane has."""
    return StyleChoice(
        content=lane["content"] if settings.colour in _FITTED else None,
        style=lane["style"],
        scale=lane.get("style_scale", settings.lanes["style_scale"]),
    )


def _load_styles(settings: Settings, scales: Sequence[float], load: partial) -> dict[float, list[Source]]:
    """Read STYLE and each image of --blend at scales in increasing order.

    An image of a folder that is too small for the layers at the smallest scale is left out at all of them.
    """
    size, names = settings.size, (settings.style, *settings.blend)
    if len(scales) > 1 and STDIN in names:
        raise StartError("standard input can be read for one --style-scale only; give a file for the style image")
    found: dict[float, list[Source]] = {}
    for scale in scales:

        def show_scale(pixels: int, scale: float = scale) -> str:
            return f"--style-scale {pixels / size:.3g} ({pixels} pixels)" if scale != 1 else f"--size {pixels}"

        sources = [load(name, max(1, round(scale * size)), option=show_scale) for name in names]
        usable = [{picture.name for picture in source.pictures} for source in found.get(scales[0], sources)]
        found[scale] = [
            source._replace(pictures=[picture for picture in source.pictures if picture.name in keep])
            for source, keep in zip(sources, usable, strict=True)
        ]
    return found


def _make_style_set(settings: Settings, sources: Sequence[Source]) -> StyleSet:
    """Return the style images that were read at one scale, in few shapes, with their masks."""
    pictures = [picture for source in sources for picture in source.pictures]
    if not settings.style_mask:
        pictures = share_shapes(pictures)
    names, regions = settings.style_mask, len(settings.content_mask)
    masks = [
        mask
        for i in range(0, len(names), max(regions, 1))
        for mask in load_masks(names[i : i + regions], pictures[i // regions], max_pixels=settings.max_pixels)
    ]
    count = len(sources[0].pictures)
    return StyleSet(pictures[:count], pictures[count:], masks)


def _check_regions(pictures: Pictures, sizes_of: SizesOf) -> None:
    """Raise StartError if a region is empty in one of its images at one of the style layers."""
    try:
        content = jnp.asarray(pictures.contents[0].image)
        content_masks(as_array(pictures.content_masks), content, sizes_of(content))
        for scale in pictures.style_sets:
            choice = StyleChoice(None, 0, scale)
            images = style_images(pictures, "style", choice)
            sizes = [sizes_of(image) for image in images]
            style_masks(style_regions(pictures, choice), images, sizes)
    except ValueError as error:
        raise StartError(f"{error}; a mask is white where its region is") from error


def _canvas(size: int, smallest: int) -> Picture:
    """Return the gray square in the place of a texture's content image."""
    if size < smallest:
        raise StartError(f"--size {size} is too small for the layers asked for: the smallest is {smallest}")
    return Picture("", np.full((size, size, 3), 0.5, np.float32), "")


def _load_start(name: str, load: partial) -> Picture:
    """Read the image that lanes start from."""
    if name != STDIN:
        try:
            resolve_path(name)
        except StartError as error:
            raise StartError(f"--init {name} is neither {', '.join(STARTS)} nor an image: {error}") from error
    return load(name).pictures[0]


def content_image(pictures: Pictures, colour: str, content: int) -> jax.Array:
    """Return what stands for a content image in the objective: the image itself, or its luminance."""
    image = jax.device_put(pictures.contents[content].image)
    return to_gray(image) if colour in LUMINANCE else image


def style_images(pictures: Pictures, colour: str, choice: StyleChoice) -> list[jax.Array]:
    """Return a lane's style images, its own and then those of --blend, in the colours that the objective compares."""
    images = [jax.device_put(picture.image) for picture in _pictures_of(pictures, choice)]
    if choice.content is None:
        return [to_gray(image) for image in images] if colour in LUMINANCE else images
    content = jnp.asarray(pictures.contents[choice.content].image)
    return [_FITTED[colour](image, content) for image in images]


_FITTED = {"content": match_luminance, "match": match_colours}
"""How a style image is fitted to a content image, by colour."""


def _pictures_of(pictures: Pictures, choice: StyleChoice) -> list[Picture]:
    found = pictures.style_sets[choice.scale]
    return [found.styles[choice.style], *found.blend]


def start_image(pictures: Pictures, init: str, content: jax.Array, style: jax.Array, seed: int) -> jax.Array:
    """Return the image (h, w, 3) that a lane starts from, given its content and style image as in the objective."""
    if pictures.start is not None:
        return cover(jnp.asarray(pictures.start.image), content.shape[0], content.shape[1])
    if init == "content":  # without a random key, which would be compiled
        return content
    return starting_image(init, content, style, jax.random.key(seed))


def content_regions(pictures: Pictures, sizes_of: SizesOf) -> dict[str, jax.Array] | None:
    """Return `StackedTargets.masks` for the only content image; None without --content-mask."""
    if not pictures.content_masks:
        return None
    found = layer_masks(as_array(pictures.content_masks), sizes_of(jnp.asarray(pictures.contents[0].image)))
    return {layer: mask[None] for layer, mask in found.items()}


def style_regions(pictures: Pictures, choice: StyleChoice) -> list[jax.Array] | None:
    """Return masks (regions, h, w) for each of a lane's style images; None without --content-mask."""
    masks, regions = pictures.style_sets[choice.scale].masks, len(pictures.content_masks)
    if masks:
        return [as_array(masks[i : i + regions]) for i in range(0, len(masks), regions)]
    return own_regions([picture.image.shape for picture in _pictures_of(pictures, choice)]) if regions else None


def finish_images(
    pictures: Pictures, settings: Settings, images: Iterable[np.ndarray], lanes: Iterable[LaneValues]
) -> list[np.ndarray]:
    """Return the images (h, w, 3) of lanes in the colours that the settings ask for.

    Images of a coarser stage may be smaller than their contents.
    """
    if settings.colour not in LUMINANCE:
        return list(images)
    finished = []
    for image, lane in zip(images, lanes, strict=True):
        content = pictures.contents[lane["content"]].image
        styles = [picture.image for picture in _pictures_of(pictures, choose_style(settings, lane))]
        mix = np.array(lane.get("style_mix", np.ones(len(styles))), np.float32)
        shares = mix / mix.sum() if mix.any() else np.full(len(styles), 1 / len(styles), np.float32)
        of_styles = [] if settings.colour == "content" else list(zip(styles, shares, strict=True))
        finished.append(np.asarray(_finish(image, content, of_styles)))
    return finished


@jax.jit
def _finish(image: jax.Array, content: jax.Array, of_styles: list[tuple[jax.Array, jax.Array]]) -> jax.Array:
    if of_styles:
        content = sum((share * match_colours(content, style) for style, share in of_styles), jnp.zeros_like(content))
    return with_colours_of(image, content if content.shape == image.shape else resize(content, image.shape[:2]))
