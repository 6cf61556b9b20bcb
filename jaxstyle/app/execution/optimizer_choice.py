"""The optimisers that the command offers, with their learning rates and the memory that they take."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax

from jaxstyle.optimise.lbfgs import lbfgs


class OptimizerChoice(NamedTuple):
    """An optimiser of the command.

    Attributes:
      make: makes the optimiser. It takes the learning rate; an optimiser without one, which finds its steps itself,
        takes a factor for their longest length.
      learning_rate: the default; None if the optimiser has none.
      images: how many images it keeps for each lane.
    """

    make: Callable[..., optax.GradientTransformation]
    learning_rate: float | None
    images: int


def _adam(learning_rate: Any) -> optax.GradientTransformation:
    # It forgets faster than with optax's 0.999, which leaves less noise after few steps (as in
    # crowsonkb/style-transfer-pytorch).
    return optax.adam(learning_rate, b2=0.99)


def _lbfgs(scale: float = 1.0) -> optax.GradientTransformation:
    return lbfgs(first_step=0.01 * scale, max_step=0.1 * scale)


OPTIMIZERS: dict[str, OptimizerChoice] = {
    # The learning rate is part of the state, so that each lane has its own.
    "adam": OptimizerChoice(optax.inject_hyperparams(_adam), 0.03, 3),
    "lbfgs": OptimizerChoice(_lbfgs, None, 15),
}
