"""Measure the similarity of images, and the distance of their colours, without a network.

Images are float RGB in [0, 1], shape (h, w, 3). Every function takes one image; `jax.vmap` takes more.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from jaxstyle.colour import luminance
from jaxstyle.common.dtypes import promoted, widen
from jaxstyle.common.exact_matmul import exact_matmul
from jaxstyle.common.images import one_image

_WINDOW = np.exp(-np.square(np.arange(-5, 6) / 1.5) / 2)
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # IEC 61966-2-1, D65


def check_image(image: Float[ArrayLike, "h w 3"], smallest: int) -> Float[Array, "h w 3"]:
    """Check the shape of an image.

    Args:
      image: (h, w, 3).
      smallest: the least height and width in pixels.

    Returns:
      The image as an array of at least float32.

    Raises:
      ValueError: unless it is floating-point, (h, w, 3), with h and w of at least `smallest`.
    """
    image = one_image(image)
    if min(image.shape[:2]) < smallest:
        h, w, _ = image.shape
        raise ValueError(f"image of {h}x{w} pixels is too small: height and width must be at least {smallest}")
    return widen(image)


def check_pair(
    image_a: Float[ArrayLike, "h w 3"], image_b: Float[ArrayLike, "h w 3"], smallest: int
) -> tuple[Float[Array, "h w 3"], Float[Array, "h w 3"]]:
    """Check two images of one shape.

    Args:
      image_a: (h, w, 3).
      image_b: (h, w, 3).
      smallest: the least height and width in pixels.

    Returns:
      Both images as arrays of at least float32.

    Raises:
      ValueError: as `check_image` does, and if their shapes differ.
    """
    image_a, image_b = check_image(image_a, smallest), check_image(image_b, smallest)
    if image_a.shape != image_b.shape:
        raise ValueError(f"images must have the same shape, got {image_a.shape} and {image_b.shape}")
    both = promoted(image_a, image_b)
    return both[0], both[1]


def safe_sqrt(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Take the square root, with a gradient of 0 at 0 instead of an infinite one. NaN gives NaN.

    Args:
      x: an array of any shape.

    Returns:
      An array of the same shape.
    """
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


@jax.jit
def ssim(image: Float[Array, "h w 3"], reference: Float[Array, "h w 3"]) -> Float[Array, ""]:
    r"""Compute the structural similarity of Wang et al. (IEEE TIP 13(4), 2004): the mean of SSIM over all windows.

    $$\mathrm{SSIM} = \frac{(2 \mu_x \mu_y + K_1^2) (2 \sigma_{xy} + K_2^2)}
    {(\mu_x^2 + \mu_y^2 + K_1^2) (\sigma_x^2 + \sigma_y^2 + K_2^2)}$$

    It is computed from the luminance, with the paper's Gaussian window (11x11, standard deviation 1.5, wholly inside
    the image) and constants K1 = 0.01 and K2 = 0.03. Images aren't scaled down before, as some programs do.

    Args:
      image: (h, w, 3), at least 11x11.
      reference: (h, w, 3).

    Returns:
      A scalar in [-1, 1], which is 1 for equal images.

    Raises:
      ValueError: if the images are too small, not floating-point or of different shapes.
    """
    x, y = (luminance(image) for image in check_pair(image, reference, len(_WINDOW)))
    mean_x, mean_y = _blur(x), _blur(y)
    # Moments about the whole image's mean lose less to rounding than moments about 0.
    x, y = x - x.mean(), y - y.mean()
    local_x, local_y = _blur(x), _blur(y)
    variance_x, variance_y = _blur(x * x) - local_x**2, _blur(y * y) - local_y**2
    covariance = _blur(x * y) - local_x * local_y
    c1, c2 = 0.01**2, 0.03**2
    brightness = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (brightness * (2 * covariance + c2) / (variance_x + variance_y + c2)).mean()


def _blur(x: jax.Array) -> jax.Array:
    """Take the Gaussian-weighted mean of each 11x11 window inside x (h, w); the result is (h - 10, w - 10)."""
    # Sums of slices are quick on every backend in both directions, and exact to rounding.
    weights = [float(v) for v in _WINDOW / _WINDOW.sum()]
    for axis in (0, 1):
        size = x.shape[axis] - len(weights) + 1
        slices = [v * lax.slice_in_dim(x, i, i + size, axis=axis) for i, v in enumerate(weights)]
        x = sum(slices[1:], slices[0])
    return x


@jax.jit
def edge_similarity(image: Float[Array, "h w 3"], reference: Float[Array, "h w 3"]) -> Float[Array, ""]:
    """Compute the mean gradient magnitude similarity of Xue et al. (IEEE TIP 23(2), 2014).

    It compares the luminance at half size by Prewitt's operator: whether edges are in the same places with the same
    strength, not which way they go from dark to light. It is the mean of the similarity map (GMSM in the paper) and not
    its standard deviation, which is small again where every place is bad.

    Args:
      image: (h, w, 3), at least 6x6.
      reference: (h, w, 3).

    Returns:
      A scalar in (0, 1], which is 1 for equal edges.

    Raises:
      ValueError: if the images are too small, not floating-point or of different shapes.
    """
    a, b = (_squared_gradient(_halve(luminance(image))) for image in check_pair(image, reference, 6))
    c = 170 / 255**2  # the paper's constant, for luminance in [0, 1]
    return ((2 * safe_sqrt(a) * safe_sqrt(b) + c) / (a + b + c)).mean()


def _halve(x: jax.Array) -> jax.Array:
    h, w = x.shape[0] // 2, x.shape[1] // 2
    return x[: 2 * h, : 2 * w].reshape(h, 2, w, 2).mean((1, 3))


def _squared_gradient(x: jax.Array) -> jax.Array:
    rows = x[2:] - x[:-2]
    columns = x[:, 2:] - x[:, :-2]
    down = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 3
    across = (columns[:-2] + columns[1:-1] + columns[2:]) / 3
    return down**2 + across**2


@jax.jit
def colour_distance(image: Float[Array, "h w 3"], style: Float[Array, "h_style w_style 3"]) -> Float[Array, ""]:
    """Compute the distance of the colours of two images, wherever in the images they are.

    It is the 2-Wasserstein distance of two Gaussians with the mean and covariance of the pixels in CIELAB (D65). A
    distance of about 2.3 units of CIELAB is just noticeable.

    Args:
      image: (h, w, 3), at least 2x2.
      style: (h', w', 3), at least 2x2.

    Returns:
      A scalar >= 0 in units of CIELAB, which is 0 for equal colours.

    Raises:
      ValueError: if an image is too small, not floating-point or of the wrong shape.
    """
    pixels, style_pixels = (cielab(check_image(x, 2)).reshape(-1, 3) for x in (image, style))
    return safe_sqrt(gaussian_distance(pixels, style_pixels))


def cielab(image: Float[Array, "*pixels 3"]) -> Float[Array, "*pixels 3"]:
    """Convert sRGB to CIELAB (CIE 1976, white D65). Below 0, where an image has left its range, it is linear.

    Args:
      image: (..., 3), sRGB in [0, 1].

    Returns:
      (..., 3): L* in [0, 100], a* and b*.
    """
    linear = jnp.where(image > 0.04045, ((jnp.maximum(image, 0.04045) + 0.055) / 1.055) ** 2.4, image / 12.92)
    matrix = jnp.asarray(_XYZ / _XYZ.sum(1, keepdims=True), image.dtype)
    t = exact_matmul(linear, matrix.T)
    d = 6 / 29
    f = jnp.where(t > d**3, jnp.cbrt(jnp.maximum(t, d**3)), t / (3 * d**2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return jnp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def gaussian_distance(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
    r"""Compute the squared 2-Wasserstein distance of the Gaussians with the mean and covariance of two samples.

    It is

    $$|m - n|^2 + \mathrm{tr}\left(C + D - 2 (C^{1/2} D C^{1/2})^{1/2}\right)$$

    where m and n are the means, and C and D the covariances, which divide by the sample's size less 1 (Dowson and
    Landau, 1982). Only first derivatives are right: those of higher order lack a term.

    Args:
      x: the first sample (n, d), n >= d.
      y: the second sample (m, d), m >= d.

    Returns:
      A scalar >= 0.
    """
    x, y = promoted(x, y)
    # With C = A'A and D = B'B, the covariances' part is the smallest ||U'A - V'B||^2 over U and V with orthonormal
    # columns. At the optimum it doesn't depend on U and V to first order. So there is no gradient of a square root or
    # of an eigenvector, which would be infinite where colours lie in a plane, and nothing cancels between nearly equal
    # samples.
    a, b = ((sample - sample.mean(0, keepdims=True)) / (len(sample) - 1) ** 0.5 for sample in (x, y))
    (q_a, r_a), (q_b, r_b) = (jnp.linalg.qr(lax.stop_gradient(centred)) for centred in (a, b))
    u, _, vh = jnp.linalg.svd(exact_matmul(r_a, r_b.T))
    a, b = exact_matmul(exact_matmul(q_a, u).T, a), exact_matmul(exact_matmul(q_b, vh.T).T, b)
    return jnp.square(x.mean(0) - y.mean(0)).sum() + jnp.square(a - b).sum()
