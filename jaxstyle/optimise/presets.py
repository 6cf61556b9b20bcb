"""Presets: the settings of well-known programs, by name. They set layers, weights, convention, start and more.

Each preset says in `differs` what it does not reproduce. `build` turns a preset into functions. Importing this module
imports no jax, so that the command's help is quick.
"""

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxstyle.network.layers import CONTENT_LAYERS, HYPERCOLUMN, STYLE_LAYERS
from jaxstyle.objective.weight_defaults import weight_defaults

if TYPE_CHECKING:
    from jaxstyle.network.features import Features
    from jaxstyle.objective.loss_weights import LossWeights
    from jaxstyle.objective.objective import Objective
    from jaxstyle.optimise.transfer_state import Transfer


class Preset(NamedTuple):
    """A program's settings, in the names and units of `make_features`, `make_objective`, `LossWeights` and the command.

    Attributes:
      source: the paper or program.
      differs: what differs from the source.
      alpha: content weight; None if the source's weight is for a network with other numbers.
      beta: style weight; None for the same reason.
      tv: weight of `total_variation`; None for the same reason.
      convention: one of `losses.CONVENTIONS`.
      content_layers: layers of the content loss.
      style_layers: layers of the style loss.
      style_layer_weights: `LossWeights.style_layers`, a weight for each style layer.
      content_loss: one of `weight_defaults.CONTENT_LOSSES`.
      style_loss: one of `weight_defaults.STYLE_LOSSES`.
      pooling: one of `layers.POOLINGS`.
      padding: one of `layers.PADDINGS`.
      start: the image to start from: "content", "noise" or "gray".
      optimizer: "lbfgs" or "adam".
      min_size: approximate longest side of the smallest size; None: there is only one size.
      average: decay for `make_averaging`; None: no averaging.
      alphas: content weights of a sweep, where the source varies alpha; else none.
    """

    source: str
    differs: str
    alpha: float | None
    beta: float | None
    tv: float | None
    convention: str
    content_layers: tuple[str, ...] = CONTENT_LAYERS
    style_layers: tuple[str, ...] = STYLE_LAYERS
    style_layer_weights: tuple[float, ...] = (0.2, 0.2, 0.2, 0.2, 0.2)
    content_loss: str = "features"
    style_loss: str = "gram"
    pooling: str = "max"
    padding: str = "zero"
    start: str = "content"
    optimizer: str = "lbfgs"
    min_size: int | None = None
    average: float | None = None
    alphas: tuple[float, ...] = ()


PRESETS: dict[str, Preset] = {
    "gram-mean": Preset(
        source="Gatys, Ecker and Bethge, arXiv 1508.06576, with every sum a mean",
        differs="means instead of sums, so that weights mean the same at every size; a start from the content",
        alpha=None,
        beta=None,
        tv=None,
        convention="mean",
    ),
    "gatys": Preset(
        source="Gatys, Ecker and Bethge, A Neural Algorithm of Artistic Style, arXiv 1508.06576",
        differs=(
            "their alpha/beta of 1e-3 and 1e-4 are for a VGG19 with every filter's mean activation scaled to 1, as "
            "`jaxstyle weights normalise --pooling average` makes it. With VGG16's weights so normalised, these ratios "
            "give the photograph with little of the style; 1e-6 to 1e-7 give a styled picture at 192x128 pixels, and "
            "less by the area at larger sizes, since the content loss is a sum over positions"
        ),
        alpha=None,
        beta=None,
        tv=0.0,
        convention="gatys",
        pooling="average",
        start="noise",
    ),
    "johnson": Preset(
        source="jcjohnson/neural-style, neural_style.lua with its defaults",
        differs=(
            "its content weight 5, style weight 100 and TV weight 1e-3 are for Caffe's VGG19 on values of 0 to 255; TV "
            "is half the sum of squared differences, which grows with the image; the start is ImageNet's mean colour "
            "and noise of a thousandth of a level"
        ),
        alpha=None,
        beta=None,
        tv=None,
        convention="johnson",
        style_layer_weights=(1.0, 1.0, 1.0, 1.0, 1.0),
        start="gray",
    ),
    "crowson": Preset(
        source="crowsonkb/style-transfer-pytorch with its defaults",
        differs=(
            "it pads the first convolution by the nearest pixel and the others by 0; adds 1e-4 to covariances; stops "
            "roots after 12 steps; takes TV over eight neighbours (of smooth images the same number); mixes the "
            "statistics of several styles, not their losses; has sizes apart by sqrt(2), with more steps at the "
            "smallest; and has VGG19 where our bundled weights are VGG16's"
        ),
        alpha=0.015,
        beta=1.0,
        tv=2.0,
        convention="mean",
        style_layer_weights=tuple(w / 341 for w in (256, 64, 16, 4, 1)),
        style_loss="wasserstein",
        padding="replicate",
        optimizer="adam",
        min_size=128,
        average=0.99,
    ),
    "strotss": Preset(
        source="Kolkin, Salavon and Shakhnarovich, STROTSS, arXiv 1904.12785",
        differs=(
            "it draws 1,024 positions of all images anew for every step, where we compare all positions of the picture "
            "with a fixed sample of the style's; halves the content weight at each size; has a term for colours alone; "
            "has hypercolumns with pixels, up to block 5 and not divided by their numbers of channels; optimises the "
            "coefficients of a Laplacian pyramid with RMSprop, 200 steps a size, without a total variation; and has "
            "VGG16 where vgg19-oxford is VGG19"
        ),
        alpha=2.0,
        beta=1.0,
        tv=1.0,
        convention="mean",
        content_layers=(HYPERCOLUMN,),
        style_layers=(HYPERCOLUMN,),
        style_layer_weights=(1.0,),
        content_loss="self_similarity",
        style_loss="relaxed_emd",
        padding="replicate",
        min_size=64,
        alphas=(0.5, 1.0, 2.0, 4.0, 8.0),
    ),
    "nnst": Preset(
        source="Kolkin, Kucera, Paris, Sykora, Shechtman and Shakhnarovich, NNST, arXiv 2203.13215",
        differs=(
            "it fits hypercolumns first and layers one by one at the end, where we do both at once at every size, "
            "which keeps more of the content beside as much of the style; takes all positions of the style image, "
            "also turned by 90, 180 and 270 degrees, where we take 1,024; draws positions of the layers anew for "
            "every step; makes hypercolumns of ten layers, of which we take the last of each block; starts without "
            "the content's detail; optimises the coefficients of a Laplacian pyramid with Adam, 200 steps a size, "
            "without a total variation; and corrects colours at the end, for which there is --colour mapped"
        ),
        alpha=0.75,
        beta=1.0,
        tv=0.3,
        convention="mean",
        content_layers=(),
        style_layers=("relu1_1", "relu2_1", "relu3_1", "relu4_1", HYPERCOLUMN),
        style_layer_weights=(0.2, 0.2, 0.2, 0.2, 1.0),
        style_loss="nearest+matched",
        padding="replicate",
        min_size=64,
        alphas=(0.0, 0.25, 0.5, 0.75, 1.0),
    ),
    "tutorial": Preset(
        source="PyTorch's tutorial Neural Transfer Using PyTorch (Alexis Jacq)",
        differs=(
            "it clamps pixels inside of the function that its L-BFGS evaluates, 300 times; and has VGG19 where our "
            "bundled weights are VGG16's. Its layers are the first 5 convolutions, before ReLU, not Gatys et al.'s"
        ),
        alpha=1.0,
        beta=1e6,
        tv=0.0,
        convention="johnson",
        content_layers=("conv2_2",),
        style_layers=("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1"),
        style_layer_weights=(1.0, 1.0, 1.0, 1.0, 1.0),
    ),
}
"""The presets by name: gram-mean, gatys, johnson, crowson, strotss, nnst and tutorial."""


class Built(NamedTuple):
    """A preset as functions.

    Attributes:
      features: the network, from `make_features`.
      objective: from `make_objective`.
      transfer: from `make_transfer`, with averaging if the preset has it.
      weights: LossWeights of one picture. Weights that are None in the preset are the command's defaults.
      start: (content, style, key) -> the image to start from; see `initial_images.starting_image`.
    """

    features: "Features"
    objective: "Objective"
    transfer: "Transfer"
    weights: "LossWeights"
    start: Any


def build(name: str) -> Built:
    """Make the functions of a preset, for one size.

    For a preset that goes through several sizes, from `Preset.min_size` up, give them to `pyramid.run_pyramid`, and
    `objective.match` as its `match`.

    Args:
      name: a key of `PRESETS`.

    Returns:
      Built.

    Raises:
      ValueError: for an unknown name; the message lists the valid ones.

    Examples:
      >>> import jax, jaxstyle as js
      >>> built = js.presets.build("tutorial")
      >>> params = js.load_params("random:0")
      >>> content, style = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3))
      >>> targets = built.objective.targets(params, content, style)
      >>> state = built.transfer.init(built.start(content, style, jax.random.key(0)))
      >>> state, losses = jax.eval_shape(built.transfer.step, state, params, targets, built.weights)
      >>> float(built.weights.beta), state.image.shape
      (1000000.0, (16, 16, 3))
    """
    import jax.numpy as jnp
    import optax

    from jaxstyle.network.vgg_features import make_features
    from jaxstyle.objective.loss_weights import LossWeights
    from jaxstyle.objective.objective import make_objective
    from jaxstyle.optimise.averaging import make_averaging
    from jaxstyle.optimise.initial_images import starting_image
    from jaxstyle.optimise.lbfgs import lbfgs
    from jaxstyle.optimise.transfer import make_transfer

    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; valid: {', '.join(PRESETS)}")
    preset = PRESETS[name]
    layers = dict.fromkeys(preset.content_layers + preset.style_layers)
    features = make_features(tuple(layers), pooling=preset.pooling, padding=preset.padding)
    objective = make_objective(
        features,
        content_layers=preset.content_layers,
        style_layers=preset.style_layers,
        content_loss=preset.content_loss,
        style_loss=preset.style_loss,
        convention=preset.convention,
    )
    optimizer = lbfgs() if preset.optimizer == "lbfgs" else optax.adam(0.03, b2=0.99)
    transfer = make_transfer(objective.loss, optimizer)
    if preset.average is not None:
        transfer = make_averaging(transfer, decay=preset.average)
    defaults = weight_defaults(preset.convention, preset.style_loss)
    weights = LossWeights(
        alpha=jnp.float32(1.0 if preset.alpha is None else preset.alpha),
        beta=jnp.float32(defaults.beta if preset.beta is None else preset.beta),
        tv=jnp.float32(defaults.tv if preset.tv is None else preset.tv),
        style_layers=jnp.array(preset.style_layer_weights, jnp.float32),
    )
    return Built(features, objective, transfer, weights, partial(starting_image, preset.start))
