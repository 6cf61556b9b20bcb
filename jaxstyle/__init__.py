"""Neural style transfer as pure JAX functions, vmapped over many (alpha, beta) settings at once.

Images are float RGB in [0, 1], shape (h, w, 3), one image: vmap for more. See the README for an example.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from jaxstyle import metrics as metrics
    from jaxstyle.app.run import load_run as load_run
    from jaxstyle.lanes import weight_grid as weight_grid
    from jaxstyle.objective import Losses as Losses
    from jaxstyle.objective import LossWeights as LossWeights
    from jaxstyle.objective import Targets as Targets
    from jaxstyle.objective import make_loss as make_loss
    from jaxstyle.objective import make_targets as make_targets
    from jaxstyle.pretrained import load_params as load_params
    from jaxstyle.rows import shard_rows as shard_rows
    from jaxstyle.rows import split_rows as split_rows
    from jaxstyle.sweeps import SweepResult as SweepResult
    from jaxstyle.sweeps import sweep as sweep
    from jaxstyle.transfer import Transfer as Transfer
    from jaxstyle.transfer import TransferState as TransferState
    from jaxstyle.transfer import make_transfer as make_transfer
    from jaxstyle.transfer import run as run
    from jaxstyle.vgg import make_features as make_features
    from jaxstyle.vgg import prepare as prepare

_HOME = {
    "LossWeights": "objective",
    "Losses": "objective",
    "SweepResult": "sweeps",
    "Targets": "objective",
    "Transfer": "transfer",
    "TransferState": "transfer",
    "load_params": "pretrained",
    "load_run": "app.run",
    "make_features": "vgg",
    "make_loss": "objective",
    "make_targets": "objective",
    "make_transfer": "transfer",
    "prepare": "vgg",
    "run": "transfer",
    "shard_rows": "rows",
    "split_rows": "rows",
    "sweep": "sweeps",
    "weight_grid": "lanes",
}

_MODULES = ("metrics",)

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:  # PEP 562: importing jaxstyle imports nothing else, so that --help is quick
    if name in _MODULES:
        return importlib.import_module(f"jaxstyle.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'jaxstyle' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"jaxstyle.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *_HOME, *_MODULES})
