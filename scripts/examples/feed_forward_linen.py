"""Train a small network that stylises in one pass (Johnson et al., arXiv 1603.08155) with jaxstyle's loss: Flax Linen.

python scripts/examples/feed_forward_linen.py [CONTENTS [STYLE]] writes feed_forward_linen.png: the sample cat, and what
the network makes of it. CONTENTS is a folder of photographs or tfds:NAME/SPLIT; without it, two sample photographs.
"""

import flax.linen as nn
import jax
import numpy as np
import optax
from feed_forward import CROP, OPTIMIZER, Frozen, mean_loss, train
from flax.training.train_state import TrainState


class Block(nn.Module):
    """Convolution with reflected borders, and instance normalisation."""

    channels: int
    size: int = 3
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Features (n, h / stride, w / stride, channels) of x (n, h, w, any)."""
        window, strides = (self.size, self.size), (self.stride, self.stride)
        return nn.InstanceNorm()(nn.Conv(self.channels, window, strides, padding="REFLECT", use_bias=False)(x))


class Network(nn.Module):
    """Images (n, h, w, 3) in [0, 1] to images of the same size: down to a quarter, residual blocks, up again."""

    width: int = 16
    residuals: int = 3

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """The stylised images."""
        x = nn.relu(Block(self.width, 9)(images - 0.5))
        for n in (2, 4):
            x = nn.relu(Block(self.width * n, stride=2)(x))
        for _ in range(self.residuals):
            x = x + Block(self.width * 4)(nn.relu(Block(self.width * 4)(x)))
        for n in (2, 1):  # repeating pixels leaves no checkerboard, as a transposed convolution does
            x = nn.relu(Block(self.width * n)(x.repeat(2, axis=1).repeat(2, axis=2)))
        x = nn.sigmoid(nn.Conv(3, (9, 9), padding="REFLECT")(x))
        return x[:, : images.shape[1], : images.shape[2]]


@jax.jit
def train_step(state: TrainState, frozen: Frozen, contents: jax.Array) -> tuple[TrainState, jax.Array]:
    """The state after one step, and the loss before it."""

    def loss(variables: optax.Params) -> jax.Array:
        return mean_loss(frozen, state.apply_fn(variables, contents), contents)

    value, gradient = jax.value_and_grad(loss)(state.params)
    return state.apply_gradients(grads=gradient), value


def make_state(seed: int) -> TrainState:
    """An untrained network with its optimiser."""
    network = Network()
    variables = network.init(jax.random.key(seed), np.zeros((1, CROP, CROP, 3), np.float32))
    return TrainState.create(apply_fn=network.apply, params=variables, tx=OPTIMIZER)


def main() -> None:
    """Train, and write the picture."""
    state = make_state(0)

    def step(frozen: Frozen, contents: np.ndarray) -> jax.Array:
        nonlocal state
        state, loss = train_step(state, frozen, contents)
        return loss

    train(step, lambda contents: state.apply_fn(state.params, contents), "feed_forward_linen.png")


if __name__ == "__main__":
    main()
