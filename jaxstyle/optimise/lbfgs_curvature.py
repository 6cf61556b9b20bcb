"""The first guess of the inverse Hessian for `lbfgs`, learnt from the steps taken and what they did to the gradient.

Were the Hessian diagonal, each value's step over its change of gradient would be the inverse. Here the guess is D F D:
D has a factor for every value of every pixel, and F, a filter, one for each spatial frequency of lightness and of two
opponent colours, since low frequencies and lightness are far freer than others. Both are ratios of root mean squares
of the steps and of the changes, over about the last ten. Images are (h, w, 3).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

_BANDS = 12
_COLOURS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])  # the first is lightness
_HIGHEST, _LOWEST = 0.5**0.5, 1 / 48  # the last and the first band, in cycles a pixel
_LEAST = 0.1  # what a pixel's mean square counts for at least, of the mean over all
_NEWEST = 0.1  # weight of the newest step in the means
_NONE = 1e-7  # added to a band's share, so that one without any waves does no harm
_PRECISION = lax.Precision.HIGHEST  # the default of TPUs and recent GPUs rounds operands

Pixels = Float[Array, "*lanes 2 h w 3"]
"""Mean squares of the steps and of the changes of gradient around each pixel, over those of the whole images."""

Waves = Float[Array, "*lanes 2 bands 3"]
"""Shares of the steps' and of the changes' squares by band of spatial frequencies and opponent colour."""


def first_curvature(image: Float[Array, "h w 3"]) -> tuple[Pixels, Waves]:
    """What is taken for known before the first step: low spatial frequencies f are freer, as 1 / f.

    Args:
      image: (h, w, 3) any image of that shape and dtype.

    Returns:
      (2, h, w, 3) and (2, bands, 3), all ones and the shares of such steps and changes.
    """
    f = np.geomspace(_LOWEST, _HIGHEST, _BANDS)
    waves = np.stack([share / share.sum() / 3 for share in (1 / f, f)])[:, :, None]
    return jnp.ones((2, *image.shape), image.dtype), jnp.array(np.tile(waves, 3), image.dtype)


def learn_curvature(
    pixels: Pixels,
    waves: Waves,
    step: Float[Array, "h w 3"],
    change: Float[Array, "h w 3"],
    count: Int[Array, ""],
) -> tuple[Pixels, Waves]:
    """The means with one more step.

    Args:
      pixels: (2, h, w, 3) the mean squares so far.
      waves: (2, bands, 3) the shares so far.
      step: (h, w, 3) difference of two images.
      change: (h, w, 3) difference of their gradients.
      count: () how many steps the means are of.

    Returns:
      (2, h, w, 3) and (2, bands, 3).
    """
    both = jnp.stack([step, change])
    both = both / jnp.sqrt(jnp.mean(jnp.square(both), (1, 2, 3), keepdims=True) + jnp.finfo(both.dtype).tiny)
    h, w, _ = step.shape
    spectrum = jnp.fft.rfft2(_product(both, _COLOURS.T), axes=(1, 2))
    squares = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    # rfft2 leaves out columns that are conjugates of others.
    twice = np.where((np.arange(w // 2 + 1) > 0) & (np.arange(w // 2 + 1) * 2 != w), 2, 1) / (h * w) ** 2 / 3
    squares = squares.astype(both.dtype) * jnp.asarray(twice, both.dtype)[:, None]
    shares = jnp.einsum("ihwc,hwb->ibc", squares, _bands(h, w, both.dtype), precision=_PRECISION)
    newest = jnp.maximum(_NEWEST, 1 / (count + 2)).astype(both.dtype)
    return pixels + newest * (_blur(jnp.square(both)) - pixels), waves + newest * (shares - waves)


def apply_curvature(pixels: Pixels, waves: Waves, image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """The guess of the inverse Hessian, but for a factor, times an image.

    Args:
      pixels: (2, h, w, 3) the mean squares.
      waves: (2, bands, 3) the shares.
      image: (h, w, 3) such as a gradient.

    Returns:
      (h, w, 3).
    """
    h, w, _ = image.shape
    # The square root of the ratio of root mean squares, since it is applied twice.
    by_pixel = ((pixels[0] + _LEAST) / (pixels[1] + _LEAST)) ** 0.25
    logarithms = 0.5 * jnp.log((waves[0] + _NONE) / (waves[1] + _NONE))
    gain = jnp.exp(jnp.einsum("hwb,bc->hwc", _bands(h, w, image.dtype), logarithms, precision=_PRECISION))
    spectrum = jnp.fft.rfft2(_product(by_pixel * image, _COLOURS.T), axes=(0, 1)) * gain
    filtered = jnp.fft.irfft2(spectrum, s=(h, w), axes=(0, 1)).astype(image.dtype)
    return by_pixel * _product(filtered, _COLOURS)


def _bands(h: int, w: int, dtype: jnp.dtype) -> jax.Array:
    """(h, w // 2 + 1, bands) how much each wave of rfft2 belongs to each band: linear in the frequency's logarithm."""
    y, x = jnp.fft.fftfreq(h)[:, None], jnp.fft.rfftfreq(w)[None]
    f = jnp.maximum(jnp.sqrt(x * x + y * y), _LOWEST)
    place = jnp.log(f / _LOWEST) * ((_BANDS - 1) / np.log(_HIGHEST / _LOWEST))
    return jnp.maximum(1 - jnp.abs(place[:, :, None] - jnp.arange(_BANDS)), 0).astype(dtype)


def _blur(images: jax.Array) -> jax.Array:
    """Images (2, h, w, 3) with each pixel's nearest neighbours mixed in, periodic at the border."""
    for axis in (1, 2):
        images = 0.75 * images + 0.125 * (jnp.roll(images, 1, axis) + jnp.roll(images, -1, axis))
    return images


def _product(image: jax.Array, matrix: np.ndarray) -> jax.Array:
    return jnp.matmul(image, jnp.asarray(matrix, image.dtype), precision=_PRECISION)
