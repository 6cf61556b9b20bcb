"""Convert between sRGB and the colours of an ICC profile, also from CMYK, by LittleCMS through Pillow."""

import io
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

# This is what photo editors do by default: whites and blacks meet, and other colours stay what they are.
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION

_SPACES = {"RGB": ("RGB", "RGBA"), "GRAY": ("L",), "CMYK": ("CMYK",)}


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert a picture from the colours of its embedded ICC profile to sRGB.

    Args:
      image: an image of mode L, LA, RGB, RGBA or CMYK; a gray image may have an RGB profile.
      profile: the profile as it was embedded.

    Returns:
      The picture, of mode RGB or RGBA.

    Raises:
      ValueError: if the profile is broken, or is for pictures of another mode.
    """
    try:
        source = ImageCms.getOpenProfile(io.BytesIO(profile))
        space = _space(source)
        alpha = image.getchannel("A") if image.mode == "LA" else None
        if image.mode == "LA":
            image = image.getchannel("L")
        if image.mode == "L" and space == "RGB":
            image = image.convert("RGB")
        elif image.mode not in _SPACES.get(space, ()):
            raise ValueError(f"it is for {space or 'unknown'} pictures")
        out = "RGBA" if image.mode == "RGBA" else "RGB"
        image = _apply(image, source, _srgb(), out)
    except (ImageCms.PyCMSError, OSError, TypeError) as error:
        raise ValueError(str(error)) from error
    if alpha is not None:
        image.putalpha(alpha)
    return image


def is_srgb(profile: bytes) -> bool:
    """Return whether a profile changes no RGB value by more than one level of 255."""
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(64, 64, 3)
    try:
        found = np.asarray(to_srgb(Image.fromarray(grid), profile), np.int16)
    except ValueError:
        return False
    return bool(np.abs(found - grid).max() <= 1)


def convert_back(image: Image.Image, profile: bytes) -> Image.Image | None:
    """Convert an sRGB picture of mode RGB to a profile; return None unless it is an RGB profile that allows that."""
    try:
        target = ImageCms.getOpenProfile(io.BytesIO(profile))
        return _apply(image, _srgb(), target, "RGB") if _space(target) == "RGB" else None
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _space(profile: ImageCms.ImageCmsProfile) -> str:
    core: Any = profile.profile
    return core.xcolor_space.strip()


def _apply(
    image: Image.Image, source: ImageCms.ImageCmsProfile, target: ImageCms.ImageCmsProfile, mode: str
) -> Image.Image:
    transform = ImageCms.buildTransform(source, target, image.mode, mode, _INTENT, _FLAGS)
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # Pillow returns None only when it converts in place
    return converted
