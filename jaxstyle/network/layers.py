"""Names and sizes of VGG19's layers (Simonyan and Zisserman, arXiv 1409.1556), and the names of the network's options.

This is plain Python, and imports no jax.
"""

from collections.abc import Iterable

from jaxstyle.common.layer_names import layer_names

BLOCKS: tuple[tuple[int, int], ...] = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))
"""(convolutions, channels) of each block; a 2x2 pooling follows every block."""

LAYERS: tuple[str, ...] = tuple(
    name
    for block, (depth, _) in enumerate(BLOCKS, 1)
    for name in (
        *(f"{kind}{block}_{i}" for i in range(1, depth + 1) for kind in ("conv", "relu")),
        f"pool{block}",
    )
)
"""The names of all layers in order: conv1_1, relu1_1, conv1_2, ..., relu5_4, pool5.

conv1_1 is a convolution's output before its ReLU, and relu1_1 the output after it.
"""

CONVOLUTIONS: tuple[str, ...] = tuple(name for name in LAYERS if name.startswith("conv"))
"""The 16 convolutions. Together with `mean`, these are the top-level names of the parameters."""

ONLY_VGG19: tuple[str, ...] = ("conv3_4", "conv4_4", "conv5_4")
"""The convolutions that VGG19 has and VGG16 lacks."""

CONTENT_LAYERS: tuple[str, ...] = ("relu4_2",)
"""Content layer of Gatys et al. (CVPR 2016)."""

STYLE_LAYERS: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
"""Style layers of Gatys et al. (CVPR 2016)."""

HYPERCOLUMN = "hypercolumn"
"""A layer made of others; see `hypercolumns.add_hypercolumns`."""

PIXELS = "pixels"
"""The image itself, as a layer of three channels, by which the colours of images are compared."""

HYPERCOLUMN_LAYERS: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
"""The layers of a hypercolumn: the last ones of VGG16's blocks 1 to 4.

Kolkin et al. (arXiv 2203.13215) take all ten of these blocks, which have 2.8 times as many channels, and pictures that
look the same.
"""

POOLINGS: tuple[str, ...] = ("max", "average", "scaled_average")
"""2x2 pooling: VGG's maximum; Gatys et al.'s mean; or the mean times 1.7, which is about as large as the maximum."""

PADDINGS: tuple[str, ...] = ("zero", "replicate")
"""What convolutions see outside of the image: 0, as VGG was trained; or the nearest pixel, which leaves no frame."""

BACKENDS: tuple[str, ...] = ("auto", "xla", "winograd")
"""Convolution algorithms: the faster one of each platform; XLA's; or Winograd's, for the kernels where it pays."""

DTYPES: tuple[str, ...] = ("float32", "tensorfloat32", "bfloat16", "bfloat16_3x")
"""Precisions to compute features in; see `vgg_features.make_features`."""


def block_of(layer: str) -> int:
    """Return the number of a layer's block, which is 4 for relu4_2 and for pool4.

    Args:
      layer: a name out of `LAYERS`.

    Returns:
      1 to 5.
    """
    return int(layer[4])


def check_layers(layers: Iterable[str]) -> tuple[str, ...]:
    """Check the names of layers of VGG19.

    Args:
      layers: names out of `LAYERS`, `HYPERCOLUMN` and `PIXELS`, or one name.

    Returns:
      The names as a tuple.

    Raises:
      ValueError: for no layer, a repeated layer, an unknown one (the message lists the valid names), a mapping, or
        pixels alone, for which there is no network to evaluate.
    """
    names = layer_names(layers, "layers")
    for name in names:
        if name not in LAYERS and name not in (HYPERCOLUMN, PIXELS):
            raise ValueError(f"unknown layer {name!r}; valid layers: {', '.join(LAYERS)}, {HYPERCOLUMN}, {PIXELS}")
    if names == (PIXELS,):
        raise ValueError(f"{PIXELS} are no layer of the network: name one beside them")
    return names


def plain_layers(layers: Iterable[str]) -> tuple[str, ...]:
    """Replace a hypercolumn by the layers that it is made of, and leave pixels out.

    Args:
      layers: names out of `LAYERS`, `HYPERCOLUMN` and `PIXELS`.

    Returns:
      Different names out of `LAYERS`.

    Raises:
      ValueError: as `check_layers` does.
    """
    made_of = {HYPERCOLUMN: HYPERCOLUMN_LAYERS, PIXELS: ()}
    members = (made_of.get(name, (name,)) for name in check_layers(layers))
    return tuple(dict.fromkeys(name for group in members for name in group))


def convolutions_for(layers: Iterable[str]) -> tuple[str, ...]:
    """List the convolutions that layers need, which are all up to the deepest layer.

    Args:
      layers: names out of `LAYERS`, `HYPERCOLUMN` and `PIXELS`.

    Returns:
      Names out of `CONVOLUTIONS`, in order.
    """
    deepest = max(LAYERS.index(layer) for layer in plain_layers(layers))
    return tuple(name for name in CONVOLUTIONS if LAYERS.index(name) <= deepest)


def min_size(layers: Iterable[str]) -> int:
    """Return the smallest height and width of an image for which layers are useful.

    At that size a layer has at least 2x2 positions (a pooling layer one). Fewer positions say nothing about a texture.

    Args:
      layers: names out of `LAYERS`.

    Returns:
      The number of pixels: 32 for block 5, 16 for block 4, ..., 2 for block 1.
    """
    return 2 ** max(block_of(layer) for layer in plain_layers(layers))
