"""Normalise weights as Gatys did, so that every filter has a mean activation of 1 over images and positions."""

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle.app.pictures.image_sources import load_source
from jaxstyle.app.pictures.shared_shapes import share_shapes
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.screen import tell
from jaxstyle.network.features import Params
from jaxstyle.network.layers import CONVOLUTIONS, min_size
from jaxstyle.network.vgg_features import make_features
from jaxstyle.pretrained.load import load_weights
from jaxstyle.pretrained.vgg_conversion import scale_filters

LEAST_IMAGES = 16
"""How many different images are enough. This was measured on 18 photographs that packages carry (192 px, bundled
weights, average pooling), in the worst filter of 30 random choices. The mean over 16 photographs is at most 1.5 to 2.5
times too small in relu1_1 to relu4_1, and 7 times in relu5_1. Over 8 it is 3 to 6 and 12 times too small. Over 2 it is
13 to 21 and 27 times too small, and hundreds of times without `_LEAST_SHARE`. The style loss goes with the fourth power
of this factor."""

_LEAST_SHARE = 0.1  # of its layer's mean is the least that a filter is divided by; the photographs give 0.05 at least


def mean_activations(params: Params, images: Iterable[np.ndarray], pooling: str = "max") -> dict[str, np.ndarray]:
    """Average every filter's activation after ReLU over images (h, w, 3) and positions: {convolution: (c_out,)}."""
    convolutions = [layer for layer in CONVOLUTIONS if layer in params]
    features = make_features([layer.replace("conv", "relu") for layer in convolutions], pooling=pooling)

    @jax.jit
    def sums(params: Params, image: jax.Array) -> list[jax.Array]:
        found = features(params, image)
        return [jnp.sum(found[layer.replace("conv", "relu")], axis=(0, 1)) for layer in convolutions]

    total = [np.zeros(params[layer]["bias"].shape) for layer in convolutions]
    count = np.zeros(len(convolutions))
    for image in images:
        h, w, _ = image.shape
        for i, (layer, found) in enumerate(zip(convolutions, sums(params, jnp.asarray(image)), strict=True)):
            shrink = 2 ** (int(layer[4]) - 1)
            total[i] += np.asarray(found, np.float64)
            count[i] += (h // shrink) * (w // shrink)
    return {layer: total[i] / count[i] for i, layer in enumerate(convolutions)}


def normalise_set(
    name: str, images: str, size: int, pooling: str = "max"
) -> tuple[dict[str, np.ndarray], Mapping[str, str]]:
    """Normalise a weight set on a source of images (Gatys, Ecker and Bethge, CVPR 2016, section 2).

    A filter that hardly ever fires on the images, with a mean below a tenth of its layer's mean, would be amplified by
    chance. It is divided by that tenth, so that its mean stays below 1, and one line says how many such filters there
    are.

    Args:
      name: the set, as `load_params` takes it.
      images: a folder or a split of TFDS, as `load_source` takes it.
      size: longest side in pixels to scale images down to.
      pooling: the pooling of the network to normalise, "max" or "average".

    Returns:
      The tensors of the new set, and what its record says about it.

    Raises:
      WeightsError: if the weights can't be loaded.
      StartError: if images can't be read, fewer than `LEAST_IMAGES` are different, or no filter of a layer fires.
    """
    weights = load_weights(name)
    pictures = share_shapes(load_source(images, size, smallest=min_size(["relu5_1"])).pictures)
    pictures = list({picture.sha256: picture for picture in pictures}.values())
    if len(pictures) < LEAST_IMAGES:
        raise StartError(
            f"{images} holds {len(pictures)} different image{'s' * (len(pictures) != 1)}, too few to know how much a "
            f"filter fires: give at least {LEAST_IMAGES} photographs of different things"
        )
    tell(f"measuring mean activations of {weights.name} on {len(pictures)} images")
    means = mean_activations(weights.params, (picture.image for picture in pictures), pooling)
    for layer, mean in means.items():
        if not np.any(mean > 0):
            raise StartError(f"no filter of {layer} fires on {images}: give other images or weights")
    least = {layer: _LEAST_SHARE * mean.mean() for layer, mean in means.items()}
    if count := sum(int(np.sum(mean < least[layer])) for layer, mean in means.items()):
        tell(
            f"{count} filters hardly fire on these images: they are scaled as if their mean activation were a tenth of "
            "their layer's, and no further"
        )
    tensors = {"mean": np.asarray(weights.params["mean"])}
    for layer in means:
        tensors |= {f"{layer}/{key}": np.asarray(weights.params[layer][key]) for key in ("kernel", "bias")}
    scaled = scale_filters(tensors, {layer: np.maximum(mean, least[layer]) for layer, mean in means.items()})
    details = {
        "architecture": "VGG19" if len(means) == len(CONVOLUTIONS) else "VGG16",
        "source": f"{weights.name}, normalised on {len(pictures)} images of {images} at {size} px, {pooling} pooling",
        "licence": "that of the set it was made of",
        "made_from": weights.sha256,
    }
    return scaled, details
