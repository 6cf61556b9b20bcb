"""The optimisers that the command offers, with their learning rates and the memory they take."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax

from jaxstyle.optimise.lbfgs import lbfgs


class OptimizerChoice(NamedTuple):
    """An optimiser of the command: the optimiser, its default learning rate, how many images it keeps of a lane.

    `make` takes the rate; of an optimiser without one, which finds its steps itself, a factor for how long they may be.
    """

    make: Callable[..., optax.GradientTransformation]
    learning_rate: float | None
    images: int


def _adam(learning_rate: Any) -> optax.GradientTransformation:
    # Faster forgetting than optax's 0.999 (crowsonkb/style-transfer-pytorch): less noise after few steps.
    return optax.adam(learning_rate, b2=0.99)


def _lbfgs(scale: float = 1.0) -> optax.GradientTransformation:
    return lbfgs(first_step=0.01 * scale, max_step=0.1 * scale)


OPTIMIZERS: dict[str, OptimizerChoice] = {
    # The rate is part of the state, so that each lane has its own.
    "adam": OptimizerChoice(optax.inject_hyperparams(_adam), 0.03, 3),
    "lbfgs": OptimizerChoice(_lbfgs, None, 15),
}
