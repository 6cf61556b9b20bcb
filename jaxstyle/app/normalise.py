"""Gatys' normalised weights: every filter's mean activation over images and positions is 1."""

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle.app.data import load_source, share_shapes
from jaxstyle.app.errors import StartError
from jaxstyle.app.screen import tell
from jaxstyle.layers import CONVOLUTIONS, min_size
from jaxstyle.ported import scale_filters
from jaxstyle.pretrained import load_weights
from jaxstyle.vgg import Params, make_features

_RARE = 1e-3


def mean_activations(params: Params, images: Iterable[np.ndarray], pooling: str = "max") -> dict[str, np.ndarray]:
    """Mean activation of every filter, after ReLU, over images (h, w, 3) and positions: {convolution: (c_out,)}."""
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

    A filter that hardly ever fires on the images, with a mean below a thousandth of its layer's, would be blown up by
    chance: it is divided by the layer's mean instead, and one line says how many of them there are.

    Args:
      name: as `load_params` takes it.
      images: a folder or a split of TFDS, as `load_source` takes it.
      size: longest side in pixels to scale images down to.
      pooling: "max" or "average", that of the network to normalise.

    Returns:
      The tensors of the new set and what its record says of it.

    Raises:
      WeightsError: for weights that can't be loaded.
      StartError: for images that can't be read, or if every filter of a layer is silent.
    """
    weights = load_weights(name)
    pictures = share_shapes(load_source(images, size, smallest=min_size(["relu5_1"])).pictures)
    tell(f"mean activations of {weights.name} on {len(pictures)} image{'s' * (len(pictures) != 1)}")
    means = mean_activations(weights.params, (picture.image for picture in pictures), pooling)
    for layer, mean in means.items():
        if not np.any(mean > 0):
            raise StartError(f"no filter of {layer} fires on {images}: give other images or weights")
    rare = {layer: mean < _RARE * mean.mean() for layer, mean in means.items()}
    if count := sum(int(np.sum(of_layer)) for of_layer in rare.values()):
        tell(f"{count} filters hardly fire on these images: they are scaled as the mean of their layer")
    tensors = {"mean": np.asarray(weights.params["mean"])}
    for layer in means:
        tensors |= {f"{layer}/{key}": np.asarray(weights.params[layer][key]) for key in ("kernel", "bias")}
    scaled = scale_filters(tensors, {layer: np.where(rare[layer], mean.mean(), mean) for layer, mean in means.items()})
    details = {
        "architecture": "VGG19" if len(means) == len(CONVOLUTIONS) else "VGG16",
        "source": f"{weights.name}, normalised on {len(pictures)} images of {images} at {size} px, {pooling} pooling",
        "licence": "that of the set it was made of",
        "made_from": weights.sha256,
    }
    return scaled, details
