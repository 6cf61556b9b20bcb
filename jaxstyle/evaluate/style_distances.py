"""Measure the distance of two textures by AlexNet, which no transfer optimises, at sizes that halve.

Images are float RGB in [0, 1], shape (h, w, 3). Every function takes one image; `jax.vmap` takes more.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.common.checks import reverse_mode_only
from jaxstyle.common.dtypes import promoted
from jaxstyle.common.exact_matmul import exact_matmul
from jaxstyle.evaluate.similarity import check_image, safe_sqrt
from jaxstyle.network import alexnet
from jaxstyle.objective.losses import gram_matrix

_PROJECTIONS, _QUANTILES = 64, 256
_SCALES, GRAM_SCALES = 3, 2
"""How many sizes are compared at most."""

_Params = Mapping[str, Any]


class FeaturePair(NamedTuple):
    """AlexNet's features of an image and of a style at one size.

    Attributes:
      image: {layer: (h, w, c)}.
      style: {layer: (h', w', c)}.
    """

    image: Mapping[str, Float[Array, "_h _w _c"]]
    style: Mapping[str, Float[Array, "_h_style _w_style _c"]]


@reverse_mode_only()
@jax.jit
def gram_distance(
    params: _Params, image: Float[Array, "h w 3"], style: Float[Array, "h_style w_style 3"]
) -> Float[Array, ""]:
    """Compute the distance of two textures by a network that no transfer optimises.

    It is the mean of ||G - A|| / ||A|| (Frobenius norms) over AlexNet's five layers at full size and at half size. G
    and A are the Gram matrices of the image and of the style, each F'F / N (Gatys et al., arXiv 1505.07376). The norm
    of A in the denominator gives layers, sizes and style images the same scale: 1 is the distance of an image without
    any features. Half size, which is antialiased, is left out if a side of the image or of the style has less than 64
    pixels.

    Args:
      params: what `load_lpips("alex")` returns.
      image: (h, w, 3), at least 32x32.
      style: (h', w', 3), at least 32x32.

    Returns:
      A scalar >= 0, which is 0 for equal images.

    Raises:
      ValueError: if an image is too small, not floating-point or of the wrong shape, or the parameters are others.
    """
    return compare_grams(_checked_pairs(params, image, style, GRAM_SCALES))


@reverse_mode_only()
@jax.jit
def sliced_distance(
    params: _Params, image: Float[Array, "h w 3"], style: Float[Array, "h_style w_style 3"]
) -> Float[Array, ""]:
    """Compute the distance of two textures by the whole distributions of AlexNet's features, not by moments alone.

    It is a sliced Wasserstein-2 distance (Rabin et al., "Wasserstein barycenter and its application to texture mixing",
    SSVM 2011) of a network's features (Heitz et al., arXiv 2006.07229). The features of a layer are projected onto 64
    fixed random directions. The distance of a layer is the root mean square difference of 256 quantiles of these
    projections, over the standard deviation of the style's projections. It is averaged over AlexNet's five layers, at
    full, half and quarter size. A size is left out if a side of the image or of the style would have less than 32
    pixels, and a layer if the style has only one position in it, and so no deviation.

    Args:
      params: what `load_lpips("alex")` returns.
      image: (h, w, 3), at least 32x32.
      style: (h', w', 3), at least 32x32.

    Returns:
      A scalar >= 0, which is 0 for equal images.

    Raises:
      ValueError: if an image is too small, not floating-point or of the wrong shape, or the parameters are others.
    """
    pairs = _checked_pairs(params, image, style, _SCALES)
    both = [(pair.image[layer], pair.style[layer]) for pair in pairs for layer in alexnet.LAYERS]
    return jnp.stack([_compare(f, target) for f, target in both if target.shape[0] * target.shape[1] > 1]).mean()


def _checked_pairs(params: _Params, image: jax.Array, style: jax.Array, scales: int) -> list[FeaturePair]:
    image, style = promoted(check_image(image, alexnet.MIN_SIZE), check_image(style, alexnet.MIN_SIZE))
    with jax.default_matmul_precision("highest"):
        return feature_pairs(params, image, style, scales)


def feature_pairs(
    params: _Params,
    image: Float[Array, "h w 3"],
    style: Float[Array, "h_style w_style 3"],
    scales: int,
) -> list[FeaturePair]:
    """Compute AlexNet's features of both images at full size, half size and so on, as far as both are large enough.

    Args:
      params: what `load_lpips("alex")` returns.
      image: (h, w, 3), at least 32x32.
      style: (h', w', 3), at least 32x32.
      scales: the largest number of sizes.

    Returns:
      A pair for each size, the full one first.

    Raises:
      ValueError: if the parameters are those of another network.
    """
    pairs = halved_pairs(image, style, scales, alexnet.MIN_SIZE)
    return [FeaturePair(alexnet_features(params, a), alexnet_features(params, b)) for a, b in pairs]


def halved_pairs(
    image: Float[Array, "h w c"], style: Float[Array, "h_style w_style c"], scales: int, smallest: int
) -> list[tuple[jax.Array, jax.Array]]:
    """Scale two images to full size, half size and so on, as far as both are large enough.

    Args:
      image: (h, w, c).
      style: (h', w', c).
      scales: the largest number of sizes.
      smallest: pixels that each side of both has at least.

    Returns:
      A pair of images for each size, the full one first.
    """
    pairs = [(image, style)]
    while len(pairs) < scales and min(*image.shape[:2], *style.shape[:2]) >= 2 * smallest:
        image, style = halve(image), halve(style)
        pairs.append((image, style))
    return pairs


def compare_grams(pairs: Sequence[FeaturePair]) -> Float[Array, ""]:
    """Compute `gram_distance` from features.

    Args:
      pairs: what `feature_pairs` returns; sizes after the second are not used.

    Returns:
      A scalar >= 0.
    """
    terms = []
    for pair in pairs[:GRAM_SCALES]:
        for layer in alexnet.LAYERS:
            target = gram_matrix(pair.style[layer])
            terms.append(_norm(gram_matrix(pair.image[layer]) - target) / (_norm(target) + 1e-12))
    return jnp.stack(terms).mean()


def _compare(features: jax.Array, target: jax.Array) -> jax.Array:
    # The directions are drawn in float32 whatever the features are, so that float64 gives the same distance.
    directions = jax.random.normal(jax.random.key(0), (features.shape[-1], _PROJECTIONS), jnp.float32)
    directions = (directions / jnp.linalg.norm(directions, axis=0, keepdims=True)).astype(features.dtype)
    a, b = (_quantiles(exact_matmul(f.reshape(-1, f.shape[-1]), directions)) for f in (features, target))
    return safe_sqrt(jnp.square(a - b).mean() / (jnp.var(b, axis=0).mean() + 1e-12))


def _quantiles(x: jax.Array) -> jax.Array:
    """Take quantiles of each column of x (n, projections), with linear interpolation; (quantiles, projections)."""
    places = (np.arange(_QUANTILES) + 0.5) / _QUANTILES * (len(x) - 1)
    low = np.floor(places).astype(int)
    share = jnp.asarray(places - low, x.dtype)[:, None]
    ordered = jnp.sort(x, axis=0)
    return ordered[low] * (1 - share) + ordered[np.minimum(low + 1, len(x) - 1)] * share


def halve(image: Float[Array, "h w c"]) -> Float[Array, "h//2 w//2 c"]:
    """Scale an image to half its size, with antialiasing.

    Args:
      image: (h, w, c).

    Returns:
      (h // 2, w // 2, c).
    """
    h, w, c = image.shape
    return jax.image.resize(image, (h // 2, w // 2, c), "linear")  # antialiased by default


def alexnet_features(params: _Params, image: Float[Array, "h w 3"]) -> dict[str, Float[Array, "_h _w _c"]]:
    """Compute AlexNet's features after a check of the parameters.

    Args:
      params: what `load_lpips("alex")` returns.
      image: (h, w, 3), at least 32x32.

    Returns:
      {layer: (h, w, c)}.

    Raises:
      ValueError: if the parameters are those of another network.
    """
    if "conv1" not in params:
        raise ValueError('this metric needs the weights of AlexNet as params; give js.load_lpips("alex")')
    return alexnet.alexnet_features(params, image)


def _norm(x: jax.Array) -> jax.Array:
    return safe_sqrt(jnp.square(x).sum())
