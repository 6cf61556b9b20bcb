"""The tools that runs are exported to and logged to, by name.

Each has a module of this folder, such as `to_wandb`, whose functions import its package when they are called. For
`jaxstyle export`, the module has `export(lanes, name, place)`, which writes the lanes of a run of that name to a place
where nothing is yet. For `--log`, it has `log(name, options, folder)`, a context that gives a function of
(step, {series: value}).
"""

import importlib
import importlib.util
from typing import Any, NamedTuple

from jaxstyle.app.run_folder.exports import OPTUNA
from jaxstyle.app.system.errors import StartError


class Tool(NamedTuple):
    """How to get a tool, and what it makes.

    Attributes:
      package: the Python package to import; "" if none is needed.
      output: what the export is called by default, in the folder `exports` of the run; "" if the tool has a store of
        its own.
      logs: whether it can be logged to while a run goes on.
      whole: whether it takes only lanes that are `whole`.
    """

    package: str
    output: str
    logs: bool = False
    whole: bool = False


TOOLS: dict[str, Tool] = {
    "tensorboard": Tool("tensorboardX", "tensorboard", logs=True),
    "wandb": Tool("wandb", "wandb", logs=True),
    "trackio": Tool("trackio", "", logs=True),
    "optuna": Tool("optuna", OPTUNA),
    "parquet": Tool("pyarrow", "parquet"),
    "artfid": Tool("", "artfid", whole=True),
}
"""The tools; the name of each that needs a package is also that of the extra which brings it."""


def check_tool(name: str, option: str) -> None:
    """Check that a tool's package is installed.

    Raises:
      StartError: if it isn't; the line names the extra.
    """
    package = TOOLS[name].package
    if package and importlib.util.find_spec(package) is None:
        raise StartError(f'{option} {name} needs the package {package}: pip install "jaxstyle[{name}]"')


def load_tool(name: str) -> Any:
    """Import the module of a tool."""
    return importlib.import_module(f"jaxstyle.app.exporting.to_{name}")
