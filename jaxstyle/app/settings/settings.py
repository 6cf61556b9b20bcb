"""What a job is asked to do: the settings that all lanes share, and the values that lanes take.

Each shared setting is one field of `Settings`, which also says how the command line asks for it. The module imports no
jax, so that the command's help is quick.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, NamedTuple

from jaxstyle.app.settings.lane_settings import LANE_SETTINGS
from jaxstyle.app.settings.values import parse_fraction, parse_integer, parse_least, parse_network
from jaxstyle.network.layers import CONTENT_LAYERS, DTYPES, PADDINGS, POOLINGS
from jaxstyle.objective.weight_defaults import (
    COMBINED_STYLE_LOSSES,
    CONTENT_LOSSES,
    STYLE_LOSSES,
    default_style_layers,
    default_style_loss,
)
from jaxstyle.optimise.presets import PRESETS
from jaxstyle.optimise.pyramid_sizes import COARSE_STEPS, SMALLEST, STEPS

DEFAULT_SIZE = 160
"""Longest side of a picture, in pixels."""

VGG19, ALEXNET = "vgg19", "alexnet"
"""The networks that have a name; any other is MODULE:FUNCTION."""

AUTO_DTYPE = "auto"
"""The precision that suits the device, which run.json names."""

COLOURS: tuple[str, ...] = ("style", "content", "match", "mapped")
"""Whose colours a picture has.

"style" means the style image's. "content" means the content image's, by a transfer of luminance alone. "match" means
the content image's on the whole: the style image first gets their mean and covariance. "mapped" means the style
image's, mapped onto the content's: luminance alone is transferred, and the chroma is that of the content image after
its colours got the mean and covariance of the style image's, so that no colour bleeds within an object (as NNST does
it, Kolkin et al., arXiv 2203.13215).
"""

LUMINANCE: tuple[str, ...] = ("content", "mapped")
"""Those of `COLOURS` for which luminance alone is transferred."""


_STYLE_LOSS = default_style_loss("mean")
_STYLE_LAYERS = default_style_layers(_STYLE_LOSS)


class Option(NamedTuple):
    """How the command line asks for a setting that all lanes share. Its flag is derived from the field's name.

    Attributes:
      help: what `--help` says about it.
      texture_help: the same for `jaxstyle texture`, where it differs.
      parse: checks a text and returns the value, or raises StartError; None leaves the text as it is.
      metavar: what the help calls a value; None for `choices`, or for the name in capitals.
      choices: the valid values, if there are few.
      many: the option takes several values, and the setting is a tuple.
      may_be_none: it may also take no value at all.
      needs_content: the setting makes no sense without a content image.
    """

    help: str
    texture_help: str = ""
    parse: Callable[[str], Any] | None = None
    metavar: str | None = None
    choices: tuple[str, ...] | None = None
    many: bool = False
    may_be_none: bool = False
    needs_content: bool = False


def _option(default: Any, help_text: str, **how: Any) -> Any:
    return field(default=default, metadata={"option": Option(help_text, **how)})


_count_option = partial(_option, parse=parse_integer)


@dataclass(frozen=True)
class Settings:
    """What `jaxstyle sweep` or `jaxstyle transfer` was asked; fields are named as the options.

    None has a meaning for each field: `content` None makes a texture, `grid` None reads no file, `max_pixels` None
    allows what is safe, `microbatch` None suits the device, `weights` None takes the best set that is here, `min_size`
    None leaves out the sizes below `size`, `tolerance` None takes all steps, and `average` None keeps the last image.

    `lanes` has an entry for each lane setting: a tuple of the values that lanes combine; a single value that holds for
    all lanes, which then do not name it; or None if something else decides. Where lanes have a strength, that of beta
    is "auto". Entries that are not given get the registry's defaults.
    """

    content: str | None
    style: str
    pair: str = "all"
    lanes: Mapping[str, Any] = field(default_factory=dict)
    grid: str | None = None
    size: int = _count_option(
        DEFAULT_SIZE, f"longest side in pixels; never scales up (default: {DEFAULT_SIZE})", metavar="PX"
    )
    blend: tuple[str, ...] = _option(
        (), "more style images, which each picture mixes with STYLE; see --style-mix", many=True, metavar="FILE"
    )
    colour: str = _option(
        "style",
        "whose colours: style; content, by a transfer of luminance alone; match, by matching the style image's "
        "colours to the content's beforehand; or mapped, the content's matched to the style image's, by a transfer of "
        "luminance (default: style)",
        choices=COLOURS,
        needs_content=True,
    )
    content_mask: tuple[str, ...] = _option(
        (),
        "masks of regions of CONTENT, white where a region is: the first takes STYLE, each further one an image of "
        "--blend; what no mask covers takes none",
        many=True,
        metavar="FILE",
        needs_content=True,
    )
    style_mask: tuple[str, ...] = _option(
        (),
        "with --content-mask: masks of what each region takes of STYLE, one for each region, and then of each image of "
        "--blend",
        many=True,
        metavar="FILE",
        needs_content=True,
    )
    steps: int = _count_option(STEPS, f"optimisation steps at full size (default: {STEPS})", metavar="N")
    optimizer: str = _option(
        "lbfgs", "lbfgs, or adam, which keeps 3 images a lane instead of 15 (default: lbfgs)", metavar="NAME"
    )
    average: float | None = _option(
        None,
        "the picture is a moving average of the images after each step, with this decay, as 0.95 (default: none)",
        parse=parse_fraction,
        metavar="D",
    )
    convention: str = _option(
        "mean", "scaling of the losses: mean, gatys, johnson or relative (default: mean)", metavar="NAME"
    )
    network: str = _option(
        VGG19,
        "network whose features are compared: vgg19, alexnet, or MODULE:FUNCTION, which takes nothing and returns "
        "(features, params), with features(params, image) -> {layer: array} (default: vgg19)",
        parse=parse_network,
        metavar="NAME",
    )
    content_loss: str = _option(
        "features",
        "how contents are compared: features, or self_similarity, what is alike in them (default: features)",
        choices=CONTENT_LOSSES,
        metavar="NAME",
        needs_content=True,
    )
    content_layers: tuple[str, ...] = _option(
        CONTENT_LAYERS,
        f"layers of the content loss; none given: there is no such loss (default: {' '.join(CONTENT_LAYERS)})",
        many=True,
        may_be_none=True,
        metavar="LAYER",
        needs_content=True,
    )
    preset: str | None = _option(
        None,
        f"layers, losses, weights, start and optimizer of a well-known program: {', '.join(PRESETS)}; other options "
        "come before it",
        choices=tuple(PRESETS),
        metavar="NAME",
    )
    style_layers: tuple[str, ...] = _option(
        _STYLE_LAYERS,
        f"layers of the style loss (default: {' '.join(_STYLE_LAYERS)}; most other --style-loss take the first five)",
        many=True,
        metavar="LAYER",
    )
    style_loss: str = _option(
        _STYLE_LOSS,
        f"how styles are compared: {', '.join(STYLE_LOSSES + COMBINED_STYLE_LOSSES)}, of layers and of hypercolumns "
        f"(default: {_STYLE_LOSS}; gram, if --convention is one of Gram matrices, gatys or johnson)",
        choices=STYLE_LOSSES + COMBINED_STYLE_LOSSES,
        metavar="NAME",
    )
    pooling: str = _option(
        "max", f"pooling of the network: {', '.join(POOLINGS)} (default: max)", choices=POOLINGS, metavar="NAME"
    )
    padding: str = _option(
        "replicate",
        "what convolutions see outside of the image: replicate, the nearest pixel, which leaves no frame, or zero "
        "(default: replicate)",
        choices=PADDINGS,
    )
    dtype: str = _option(
        AUTO_DTYPE,
        f"precision of the network: {', '.join(DTYPES)}; auto is bfloat16 on TPUs and on GPUs that have it, else "
        "float32 (default: auto)",
        choices=(AUTO_DTYPE, *DTYPES),
        metavar="NAME",
    )
    init: str = _option(
        "content",
        "image to start from: content; noise; style; gray; statistics, noise with the colours of STYLE; or a file "
        "(default: content)",
        texture_help="image to start from: noise; style; gray; statistics, noise with the colours of STYLE; or a file "
        "(default: noise)",
        metavar="NAME",
    )
    microbatch: int | None = _count_option(
        None, "lanes computed at once, which sets the memory (default: by device)", metavar="N"
    )
    background: str = _option(
        "white", "colour behind what is transparent, as white or #808080 (default: white)", metavar="COLOUR"
    )
    max_pixels: int | None = _option(
        None,
        "refuse images with more pixels than this (default: what is safe)",
        parse=partial(parse_integer, high=2**40),
        metavar="N",
    )
    weights: str | None = _option(
        None,
        "a set that jaxstyle weights list shows, random:SEED, or a .safetensors file (default: vgg19-oxford if it has "
        "been fetched, else bundled)",
        metavar="SET",
    )
    min_size: int | None = _count_option(
        SMALLEST,
        f"longest side of the first size, from which each is about twice the one before (default: {SMALLEST}); that of "
        "--size leaves one size",
        metavar="PX",
    )
    coarse_steps: int = _count_option(
        COARSE_STEPS, f"steps at each smaller size (default: {COARSE_STEPS})", metavar="N"
    )
    tolerance: float | None = _option(
        None,
        "a lane whose total fell by less than this fraction in 25 steps has converged and stops (default: none does)",
        parse=parse_least,
        metavar="X",
    )

    def __post_init__(self) -> None:
        """Fill in the registry's defaults of lane settings that depend on nothing else."""
        known = {name: None if callable(s.default) else s.default for name, s in LANE_SETTINGS.items()}
        object.__setattr__(self, "lanes", known | dict(self.lanes))

    def with_lanes(self, **values: Any) -> "Settings":
        """Return the settings with these values of lane settings."""
        return replace(self, lanes={**self.lanes, **values})

    def with_lane_defaults(self) -> "Settings":
        """Return the settings with the defaults of lane settings that depend on other settings."""
        known = {name: s.default(self) for name, s in LANE_SETTINGS.items() if callable(s.default)}
        return self.with_lanes(**{name: values for name, values in known.items() if self.lanes[name] is None})


SHARED: dict[str, Option] = {f.name: f.metadata["option"] for f in fields(Settings) if "option" in f.metadata}
"""The options of settings that all lanes share, by name, in the order of the help."""


def to_options(settings: Settings) -> dict[str, Any]:
    """Return every setting by its name, as "options" of run.json; lane settings stand beside the others."""
    found: dict[str, Any] = {}
    for f in fields(settings):
        value = getattr(settings, f.name)
        found |= value if f.name == "lanes" else {f.name: value}
    return found


def from_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `Settings` that `to_options` wrote as these options."""
    lanes = {name: options[name] for name in LANE_SETTINGS if name in options}
    return {name: value for name, value in options.items() if name not in lanes} | {"lanes": lanes}
