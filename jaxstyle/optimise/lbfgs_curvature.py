"""The first guess of the inverse Hessian for `lbfgs`, learnt from the steps and the changes of gradient so far.

If the Hessian were diagonal, the inverse would be each value's step divided by its change of gradient. Here the guess
is the product D F D. D has a factor for every value of every pixel. F is a filter, with a factor for each spatial
frequency of lightness and of two opponent colours, because low frequencies and lightness are far freer to move than the
others. Both are ratios of the root mean squares of steps and of changes, over about the last ten. Images are (h, w, 3).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

_BANDS = 12
_COLOURS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])  # the first is lightness
_HIGHEST, _LOWEST = 0.5**0.5, 1 / 48  # frequencies of the last and the first band, in cycles per pixel
_LEAST = 0.1  # added to a pixel's mean square, whose mean over all pixels is 1
_NEWEST = 0.1  # weight of the newest step in the means
_NONE = 1e-7  # added to a band's share, so that a band without any waves does no harm
_PRECISION = lax.Precision.HIGHEST  # by default, TPUs and recent GPUs round operands

Pixels = Float[Array, "*lanes 2 h w 3"]
"""Mean squares of the steps and of the changes of gradient around each pixel, relative to those of the whole images."""

Waves = Float[Array, "*lanes 2 bands 3"]
"""Shares of each band of spatial frequencies and each opponent colour in the squares of the steps and changes."""


def first_curvature(image: Float[Array, "h w 3"]) -> tuple[Pixels, Waves]:
    """Make the guess before the first step, in which low spatial frequencies f are freer by 1 / f.

    Args:
      image: (h, w, 3) any image of the right shape and dtype.

    Returns:
      The mean squares (2, h, w, 3), which are ones, and the shares (2, bands, 3).
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
    """Add one more step to the means.

    Args:
      pixels: (2, h, w, 3) the mean squares so far.
      waves: (2, bands, 3) the shares so far.
      step: (h, w, 3) difference of two images.
      change: (h, w, 3) difference of their gradients.
      count: () number of steps in the means so far.

    Returns:
      The new mean squares (2, h, w, 3) and shares (2, bands, 3).
    """
    both = jnp.stack([step, change])
    both = both / jnp.sqrt(jnp.mean(jnp.square(both), (1, 2, 3), keepdims=True) + jnp.finfo(both.dtype).tiny)
    h, w, _ = step.shape
    spectrum = jnp.fft.rfft2(_product(both, _COLOURS.T), axes=(1, 2))
    squares = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    # rfft2 leaves out columns that are conjugates of other columns. These other columns count twice.
    twice = np.where((np.arange(w // 2 + 1) > 0) & (np.arange(w // 2 + 1) * 2 != w), 2, 1) / (h * w) ** 2 / 3
    squares = squares.astype(both.dtype) * jnp.asarray(twice, both.dtype)[:, None]
    shares = jnp.einsum("ihwc,hwb->ibc", squares, _bands(h, w, both.dtype), precision=_PRECISION)
    newest = jnp.maximum(_NEWEST, 1 / (count + 2)).astype(both.dtype)
    return pixels + newest * (_blur(jnp.square(both)) - pixels), waves + newest * (shares - waves)


def apply_curvature(pixels: Pixels, waves: Waves, image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """Multiply the guess of the inverse Hessian by an image, up to a constant factor.

    Args:
      pixels: (2, h, w, 3) the mean squares.
      waves: (2, bands, 3) the shares.
      image: (h, w, 3), such as a gradient.

    Returns:
      (h, w, 3).
    """
    h, w, _ = image.shape
    # This is the square root of the ratio of root mean squares, since it is applied twice.
    by_pixel = ((pixels[0] + _LEAST) / (pixels[1] + _LEAST)) ** 0.25
    logarithms = 0.5 * jnp.log((waves[0] + _NONE) / (waves[1] + _NONE))
    gain = jnp.exp(jnp.einsum("hwb,bc->hwc", _bands(h, w, image.dtype), logarithms, precision=_PRECISION))
    spectrum = jnp.fft.rfft2(_product(by_pixel * image, _COLOURS.T), axes=(0, 1)) * gain
    filtered = jnp.fft.irfft2(spectrum, s=(h, w), axes=(0, 1)).astype(image.dtype)
    return by_pixel * _product(filtered, _COLOURS)


def _bands(h: int, w: int, dtype: jnp.dtype) -> jax.Array:
    """Compute how much each wave of rfft2 belongs to each band: (h, w // 2 + 1, bands).

    This is linear in the logarithm of the frequency.
    """
    y, x = jnp.fft.fftfreq(h)[:, None], jnp.fft.rfftfreq(w)[None]
    f = jnp.maximum(jnp.sqrt(x * x + y * y), _LOWEST)
    place = jnp.log(f / _LOWEST) * ((_BANDS - 1) / np.log(_HIGHEST / _LOWEST))
    return jnp.maximum(1 - jnp.abs(place[:, :, None] - jnp.arange(_BANDS)), 0).astype(dtype)


def _blur(images: jax.Array) -> jax.Array:
    """Mix each pixel of images (2, h, w, 3) with its nearest neighbours. The border is periodic."""
    for axis in (1, 2):
        images = 0.75 * images + 0.125 * (jnp.roll(images, 1, axis) + jnp.roll(images, -1, axis))
    return images


def _product(image: jax.Array, matrix: np.ndarray) -> jax.Array:
    return jnp.matmul(image, jnp.asarray(matrix, image.dtype), precision=_PRECISION)
