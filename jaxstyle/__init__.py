"""Neural style transfer as pure JAX functions, vmapped over many (alpha, beta) settings at once.

Images are float RGB in [0, 1], shape (h, w, 3). Functions take one image; `jax.vmap` takes more. Everything but reading
files is a pure function of arrays, jitted by you (but for `sweep`): it composes with `jit`, `vmap`, reverse-mode `grad`
and `lax.map`. Weights and parameters are arguments, so new values never recompile.

Each wing's own page is its manual: `parallel` for sweeps, `objective` for losses and networks of your own, `optimise`
for one picture, `hypergradient` for gradients of a result, `evaluate` for metrics, `network` for speed and precision,
`pretrained` for weights, and `app` for the command. The README has a first example, and `scripts/examples/` has more.

Annotations hold the shapes of arrays ([jaxtyping](https://docs.kidger.site/jaxtyping/)), such as `Float[Array, "h w
3"]`; they are checked where you install its import hook.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from jaxstyle.app.pictures.read_image import read_image as read_image
    from jaxstyle.app.run_folder.finished_run import load_run as load_run
    from jaxstyle.evaluate import metrics as metrics
    from jaxstyle.network.vgg import prepare as prepare
    from jaxstyle.network.vgg_features import make_features as make_features
    from jaxstyle.objective.loss_weights import LossWeights as LossWeights
    from jaxstyle.objective.objective import Losses as Losses
    from jaxstyle.objective.objective import Objective as Objective
    from jaxstyle.objective.objective import make_objective as make_objective
    from jaxstyle.objective.targets import Targets as Targets
    from jaxstyle.optimise import presets as presets
    from jaxstyle.optimise.lbfgs import lbfgs as lbfgs
    from jaxstyle.optimise.transfer import make_transfer as make_transfer
    from jaxstyle.optimise.transfer import run as run
    from jaxstyle.optimise.transfer_state import Transfer as Transfer
    from jaxstyle.optimise.transfer_state import TransferState as TransferState
    from jaxstyle.parallel.image_rows import shard_rows as shard_rows
    from jaxstyle.parallel.image_rows import split_rows as split_rows
    from jaxstyle.parallel.plan import Plan as Plan
    from jaxstyle.parallel.plan import plan as plan
    from jaxstyle.parallel.stacked_targets import stack_targets as stack_targets
    from jaxstyle.parallel.sweep import sweep as sweep
    from jaxstyle.parallel.sweep_program import SweepResult as SweepResult
    from jaxstyle.parallel.weight_grid import weight_grid as weight_grid
    from jaxstyle.pretrained.load import load_params as load_params
    from jaxstyle.pretrained.lpips import load_lpips as load_lpips

_HOME = {
    "LossWeights": "objective.loss_weights",
    "Losses": "objective.objective",
    "Objective": "objective.objective",
    "Plan": "parallel.plan",
    "SweepResult": "parallel.sweep_program",
    "Targets": "objective.targets",
    "Transfer": "optimise.transfer_state",
    "TransferState": "optimise.transfer_state",
    "lbfgs": "optimise.lbfgs",
    "load_lpips": "pretrained.lpips",
    "load_params": "pretrained.load",
    "load_run": "app.run_folder.finished_run",
    "make_features": "network.vgg_features",
    "make_objective": "objective.objective",
    "make_transfer": "optimise.transfer",
    "plan": "parallel.plan",
    "prepare": "network.vgg",
    "read_image": "app.pictures.read_image",
    "run": "optimise.transfer",
    "shard_rows": "parallel.image_rows",
    "split_rows": "parallel.image_rows",
    "stack_targets": "parallel.stacked_targets",
    "sweep": "parallel.sweep",
    "weight_grid": "parallel.weight_grid",
}

_MODULES = {"metrics": "evaluate.metrics", "presets": "optimise.presets"}

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:  # PEP 562: importing jaxstyle imports nothing else, so that --help is quick
    if name in _MODULES:
        return importlib.import_module(f"jaxstyle.{_MODULES[name]}")
    if name not in _HOME:
        raise AttributeError(f"module 'jaxstyle' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"jaxstyle.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *_HOME, *_MODULES})
