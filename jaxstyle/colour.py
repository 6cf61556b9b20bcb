"""Keep the content image's colours in a transfer (Gatys et al., arXiv 1606.05897).

A transfer can either work on luminance alone, or on a style image with matched colours. Images are float RGB in [0, 1],
shape (h, w, 3). Every function takes one image; `jax.vmap` takes more. All is computed on gamma-encoded sRGB
values: the network sees these, and equal steps of them look about equal. Matching in linear light would clip most of
the dark tones.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.common.checks import check_shape
from jaxstyle.common.dtypes import promoted, widen

_LUMA = (0.299, 0.587, 0.114)
_EPSILON = 1e-5  # (0.8 / 255)^2 is added to variances, so that noise of 8 bits or of JPEG isn't amplified to colours


def luminance(image: Float[Array, "h w 3"]) -> Float[Array, "h w"]:
    """Compute the luma of ITU-R BT.601, which is the Y of YIQ: 0.299 R + 0.587 G + 0.114 B.

    Args:
      image: (h, w, 3).

    Returns:
      (h, w) in [0, 1].
    """
    return (image * jnp.asarray(_LUMA, image.dtype)[None, None]).sum(-1)


def to_gray(image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """Remove an image's colours: each channel becomes the luminance.

    Args:
      image: (h, w, 3).

    Returns:
      (h, w, 3), gray.
    """
    return jnp.broadcast_to(luminance(image)[..., None], image.shape)


def of_luminance(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Make a loss see only the luminance of an image, for a transfer whose result goes to `with_colours_of`.

    Args:
      loss: a function whose first argument is an image, such as `Objective.loss` and `Objective.terms`. Its targets
        should be made from gray images (see `to_gray` and `match_luminance`).

    Returns:
      A function of the same arguments.
    """
    # Without the barrier, XLA on CPU (jax 0.12.0) compiles gradients of vmapped images that hold what lay in memory.
    return lambda image, *others: loss(lax.optimization_barrier(to_gray(image)), *others)


def with_colours_of(image: Float[Array, "h w 3"], content: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """Combine the luminance of one image with the chroma of another, which finishes a transfer of luminance.

    Chroma is RGB minus luminance, that is, I and Q of YIQ, as in Gatys et al. (arXiv 1606.05897). Where it doesn't fit
    into [0, 1] beside the new luminance, all channels of it are reduced alike, so that luminance and hue stay.

    Args:
      image: the image (h, w, 3) that gives the luminance, clipped to [0, 1].
      content: the image (h, w, 3) that gives the chroma.

    Returns:
      (h, w, 3) in [0, 1].
    """
    check_shape("image", image, ("h", "w", "3"))
    image, content = promoted(image, content)
    y = jnp.clip(luminance(image), 0, 1)[..., None]
    chroma = content - to_gray(content)
    room = jnp.where(chroma > 0, 1 - y, y)
    size = jnp.abs(chroma)
    share = jnp.where(size > room, room / jnp.where(size > room, size, 1), 1).min(-1, keepdims=True)
    return jnp.clip(y + share * chroma, 0, 1)  # only rounding can leave [0, 1]


def match_colours(
    style: Float[Array, "h_style w_style 3"], content: Float[Array, "h w 3"]
) -> Float[Array, "h_style w_style 3"]:
    r"""Give the style image the content's colours: the mean and covariance of its RGB values become the content's.

    The map is the optimal transport between the Gaussians $(m, S)$ of the style and $(n, C)$ of the content,

    $$x \mapsto T (x - m) + n, \quad T = S^{-1/2} (S^{1/2} C S^{1/2})^{1/2} S^{-1/2}$$

    (Dowson and Landau, 1982; Pitie and Kokaram, 2007). Among all linear maps that match the moments, it changes the
    colours least. Gatys et al. (arXiv 1606.05897) take $C^{1/2} S^{-1/2}$ or Cholesky factors, and the latter depend on
    the order of the channels. A gray style image gets the content's contrast along the content's own main colours. A
    gray content image makes the style gray.

    Args:
      style: the style image (h', w', 3).
      content: the content image (h, w, 3).

    Returns:
      (h', w', 3), clipped to [0, 1]. If clipping changes pixels, mean and covariance are not quite the content's.
    """
    style, content = promoted(style, content)
    mean, covariance = colour_moments(style)
    new_mean, new_covariance = colour_moments(content)
    with jax.default_matmul_precision("highest"):
        root = symmetric_sqrt(covariance + _EPSILON * jnp.eye(3, dtype=covariance.dtype))
        inverse = jnp.linalg.inv(root)
        transport = inverse @ symmetric_sqrt(root @ new_covariance @ root) @ inverse
        matched = (widen(style) - mean[None, None]) @ transport + new_mean[None, None]
    return jnp.clip(matched, 0, 1).astype(style.dtype)


def match_luminance(
    style: Float[Array, "h_style w_style 3"], content: Float[Array, "h w 3"]
) -> Float[Array, "h_style w_style 3"]:
    """Make the style image gray, and give its luminance the mean and standard deviation of the content's luminance.

    The result is the style image for a transfer of luminance (Gatys et al., arXiv 1606.05897).

    Args:
      style: the style image (h', w', 3).
      content: the content image (h, w, 3).

    Returns:
      (h', w', 3), gray, clipped to [0, 1].
    """
    return match_colours(to_gray(style), to_gray(content))


def colour_moments(image: Float[Array, "h w 3"]) -> tuple[Float[Array, "3"], Float[Array, "3 3"]]:
    """Compute the mean and covariance of an image's pixels.

    Args:
      image: (h, w, 3).

    Returns:
      The mean (3,), and the covariance (3, 3) with h * w in the denominator, both at least float32.
    """
    check_shape("image", image, ("h", "w", "3"))
    image = widen(image)
    mean = image.mean((0, 1))
    centred = image - mean[None, None]
    products = jnp.einsum("hwc,hwd->cd", centred, centred, precision="highest")
    return mean, products / (image.shape[0] * image.shape[1])


@jax.custom_jvp
def symmetric_sqrt(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Take the symmetric square root of a small symmetric matrix whose eigenvalues are not negative, but for rounding.

    The derivative is right also for repeated eigenvalues, where the derivative of `eigh` is not finite. A singular
    matrix, which has no derivative, gets a finite one.

    Args:
      matrix: (n, n).

    Returns:
      (n, n).
    """
    values, vectors = _eigh(matrix)
    return _compose(vectors, jnp.diag(jnp.sqrt(values)))


@symmetric_sqrt.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    # R R = M gives dR R + R dR = dM, which is solved entry by entry in the basis of the eigenvectors.
    values, vectors = _eigh(primals[0])
    roots = jnp.sqrt(values)
    sums = roots[:, None] + roots[None, :]
    solved = jnp.where(sums > 0, _compose(vectors.T, tangents[0]) / jnp.where(sums > 0, sums, 1), 0)
    return _compose(vectors, jnp.diag(roots)), _compose(vectors, solved)


def _compose(vectors: jax.Array, matrix: jax.Array) -> jax.Array:
    return jnp.einsum("ij,jk,lk->il", vectors, matrix, vectors, precision="highest")


def _eigh(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    values, vectors = jnp.linalg.eigh(matrix)
    return jnp.maximum(values, 0), vectors
