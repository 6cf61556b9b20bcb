"""Measure how much of the content is left in a stylised picture, and how close it is to the style.

Images are float RGB in [0, 1], shape (h, w, 3). Every function takes one image; `jax.vmap` takes more. Every function
is pure and differentiable in reverse mode, not in forward mode. It computes in float64 for float64 images, and else in
float32, in which products are never rounded to fewer bits.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, Float

from jaxstyle.common.checks import reverse_mode_only
from jaxstyle.common.dtypes import promoted
from jaxstyle.evaluate.lpips import compare_features, lpips
from jaxstyle.evaluate.metric_names import HIGHER_IS_BETTER
from jaxstyle.evaluate.similarity import (
    check_image,
    check_pair,
    colour_distance,
    edge_similarity,
    gaussian_distance,
    ssim,
)
from jaxstyle.evaluate.style_distances import (
    GRAM_SCALES,
    alexnet_features,
    compare_grams,
    feature_pairs,
    gram_distance,
    sliced_distance,
)
from jaxstyle.network import alexnet
from jaxstyle.objective.losses import total_variation

__all__ = [
    "HIGHER_IS_BETTER",
    "Metrics",
    "colour_distance",
    "edge_similarity",
    "frechet_distance",
    "gram_distance",
    "lpips",
    "lpips_frechet",
    "measure",
    "sliced_distance",
    "ssim",
    "total_variation",
]

_Params = Mapping[str, Any]
_Found = Mapping[str, jax.Array]


class Metrics(NamedTuple):
    """What `measure` returns: scalars, or arrays with a leading lane axis.

    Attributes:
      lpips: `lpips` to the content, on AlexNet; 0 is the same image, lower is better.
      ssim: `ssim` to the content; at most 1, higher is better.
      edge_similarity: `edge_similarity` to the content; at most 1, higher is better.
      style_distance: `gram_distance` to the style; 0 is the same texture, lower is better.
      colour_distance: `colour_distance` to the style in units of CIELAB; 0 is the same colours, lower is better.
      total_variation: `losses.total_variation` of the image alone; lower is smoother.
    """

    lpips: Float[Array, "*lanes"]
    ssim: Float[Array, "*lanes"]
    edge_similarity: Float[Array, "*lanes"]
    style_distance: Float[Array, "*lanes"]
    colour_distance: Float[Array, "*lanes"]
    total_variation: Float[Array, "*lanes"]


export.register_namedtuple_serialization(Metrics, serialized_name="jaxstyle.Metrics")


@reverse_mode_only()
@jax.jit
def measure(
    params: _Params,
    image: Float[Array, "h w 3"],
    content: Float[Array, "h w 3"],
    style: Float[Array, "h_style w_style 3"],
) -> Metrics:
    """Compute all metrics of one stylised image.

    `jax.vmap(measure, (None, 0, None, None))` computes them for many lanes. What depends on content and style alone is
    then computed once, and not once a lane.

    Args:
      params: what `load_lpips("alex")` returns.
      image: the stylised image (h, w, 3), at least 32x32.
      content: the content image (h, w, 3).
      style: the style image (h', w', 3), at least 32x32.

    Returns:
      Metrics of scalars.

    Raises:
      ValueError: if an image is too small, not floating-point or of the wrong shape, or the parameters are others.
    """
    image, content = check_pair(image, content, alexnet.MIN_SIZE)
    image, content, style = promoted(image, content, check_image(style, alexnet.MIN_SIZE))
    with jax.default_matmul_precision("highest"):
        pairs = feature_pairs(params, image, style, GRAM_SCALES)
        return Metrics(
            lpips=compare_features(params, pairs[0].image, alexnet_features(params, content)),
            ssim=ssim(image, content),
            edge_similarity=edge_similarity(image, content),
            style_distance=compare_grams(pairs),
            colour_distance=colour_distance(image, style),
            total_variation=total_variation(image),
        )


@reverse_mode_only()
@jax.jit
def frechet_distance(
    params: _Params, images: Float[Array, "n h w 3"], references: Float[Array, "m h_reference w_reference 3"]
) -> Float[Array, ""]:
    """Compute the squared Fréchet distance of two sets of images by AlexNet's first layer, which is not the FID.

    Each image gives the mean of relu1 over its positions, and each set gives the mean and covariance of these. The
    result is the squared 2-Wasserstein distance of the two Gaussians with these moments. 64 features mean that a
    hundred images are enough (Heusel et al., arXiv 1706.08500, take 2048 features of another network). It compares
    colours, contrast and edges, not what is shown. Its values compare only with each other, and only for sets of equal
    sizes, since small sets are biased upwards.

    Args:
      params: what `load_lpips("alex")` returns.
      images: (n, h, w, 3), n > 64.
      references: (m, h', w', 3), m > 64.

    Returns:
      A scalar >= 0.

    Raises:
      ValueError: if a set has 64 images or fewer, which don't determine a covariance; for images, as in `lpips`.
    """
    return gaussian_distance(_set_features(params, images, "images"), _set_features(params, references, "references"))


def _set_features(params: _Params, images: jax.Array, name: str) -> jax.Array:
    if jnp.ndim(images) != 4:
        raise ValueError(f"{name} must have shape (n, h, w, 3), got {jnp.shape(images)}")
    needed = alexnet.CHANNELS[0] + 1
    if len(images) < needed:
        raise ValueError(f"{name} are {len(images)} images, too few for a covariance: give at least {needed}")

    def one(image: jax.Array) -> jax.Array:
        return alexnet_features(params, check_image(image, alexnet.MIN_SIZE))["relu1"].mean((0, 1))

    with jax.default_matmul_precision("highest"):
        return jax.vmap(one)(images)


@reverse_mode_only()
@jax.jit
def lpips_frechet(
    params: _Params,
    images: Float[Array, "n h w 3"],
    contents: Float[Array, "n h w 3"],
    styles: Float[Array, "m h_style w_style 3"],
) -> Float[Array, ""]:
    """Sum up a set of stylised images as (1 + mean LPIPS to the contents) (1 + Fréchet distance to the styles).

    This is the form of ArtFID (Wright and Ommer, arXiv 2207.12280) with the features of `lpips` and
    `frechet_distance`. Its values don't compare with published ones.

    Args:
      params: what `load_lpips("alex")` returns.
      images: (n, h, w, 3), n > 64.
      contents: the content image of each (n, h, w, 3).
      styles: (m, h', w', 3), m > 64.

    Returns:
      A scalar >= 1; lower is better.

    Raises:
      ValueError: as `lpips` and `frechet_distance` do.
    """
    if jnp.shape(images) != jnp.shape(contents):
        raise ValueError(f"images have shape {jnp.shape(images)}, contents {jnp.shape(contents)}")
    distance = frechet_distance(params, images, styles)
    return (1 + jax.vmap(lpips, (None, 0, 0))(params, images, contents).mean()) * (1 + distance)
