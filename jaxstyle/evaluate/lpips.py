"""LPIPS, the learned perceptual distance of two images, by AlexNet or VGG16.

Images are float RGB in [0, 1], shape (h, w, 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.common.checks import reverse_mode_only
from jaxstyle.evaluate.similarity import check_pair, safe_sqrt
from jaxstyle.network import alexnet
from jaxstyle.network.vgg_features import make_features

VGG16_LAYERS: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
"""The layers that LPIPS compares on VGG16."""

_Params = Mapping[str, Any]
_Found = Mapping[str, jax.Array]

_vgg16_features = make_features(VGG16_LAYERS)


@reverse_mode_only()
@jax.jit
def lpips(params: _Params, image_a: Float[Array, "h w 3"], image_b: Float[Array, "h w 3"]) -> Float[Array, ""]:
    """Compute the learned perceptual distance LPIPS 0.1 of Zhang et al. (arXiv 1801.03924).

    The features of five layers are scaled to length 1 at each position. Their squared differences are weighted by the
    learned heads, averaged over positions and summed over layers.

    Args:
      params: what `load_lpips("alex")` returns, which is the standard, or `load_lpips("vgg16")`.
      image_a: (h, w, 3), at least 32x32.
      image_b: (h, w, 3).

    Returns:
      A scalar >= 0, which is 0 for equal images.

    Raises:
      ValueError: if an image is too small or not floating-point, the shapes differ, or the parameters have no heads.
    """
    image_a, image_b = check_pair(image_a, image_b, alexnet.MIN_SIZE)
    if "heads" not in params:
        raise ValueError('params hold no heads of LPIPS; give js.load_lpips("alex") or ("vgg16")')
    features = alexnet.alexnet_features if "conv1" in params else _vgg16_features
    with jax.default_matmul_precision("highest"):
        return compare_features(params, features(params, image_a), features(params, image_b))


def compare_features(params: _Params, a: _Found, b: _Found) -> Float[Array, ""]:
    """Compute `lpips` from features.

    Args:
      params: as of `lpips`.
      a: the features of one image by the name of the layer.
      b: those of the other image.

    Returns:
      A scalar >= 0.
    """
    terms = [
        (jnp.square(_unit(a[layer]) - _unit(b[layer])) * head.astype(a[layer].dtype)[None, None]).sum(-1).mean()
        for layer, head in params["heads"].items()
    ]
    return jnp.stack(terms).sum()


def _unit(features: jax.Array) -> jax.Array:
    """Scale each position's vector of channels to length 1; a vector of zeros stays."""
    return features / (safe_sqrt(jnp.square(features).sum(-1, keepdims=True)) + 1e-10)
