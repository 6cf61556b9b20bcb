"""Train a small network that stylises in one pass (Johnson et al., arXiv 1603.08155) with jaxstyle's loss: Flax NNX.

python scripts/examples/feed_forward_nnx.py [CONTENTS [STYLE]] writes feed_forward_nnx.png: the sample cat, and what the
network makes of it. CONTENTS is a folder of photographs or tfds:NAME/SPLIT; without it, two sample photographs.
"""

import jax
import jax.numpy as jnp
import numpy as np
from feed_forward import OPTIMIZER, Frozen, mean_loss, train
from flax import nnx


class Block(nnx.Module):
    """Convolution with reflected borders, and instance normalisation."""

    def __init__(self, before: int, channels: int, size: int, *, stride: int = 1, rngs: nnx.Rngs):
        self.convolution = nnx.Conv(
            before, channels, (size, size), (stride, stride), padding="REFLECT", use_bias=False, rngs=rngs
        )
        self.norm = nnx.GroupNorm(channels, num_groups=None, group_size=1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features (n, h / stride, w / stride, channels) of x (n, h, w, before)."""
        return self.norm(self.convolution(x))


class Residual(nnx.Module):
    """Two blocks whose result is added to what came in."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.first, self.second = (Block(channels, channels, 3, rngs=rngs) for _ in range(2))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features of the shape of x (n, h, w, channels)."""
        return x + self.second(nnx.relu(self.first(x)))


class Network(nnx.Module):
    """Images (n, h, w, 3) in [0, 1] to images of the same size: down to a quarter, residual blocks, up again."""

    def __init__(self, width: int = 16, residuals: int = 3, *, rngs: nnx.Rngs):
        self.start = Block(3, width, 9, rngs=rngs)
        self.down = nnx.List([Block(width * n, width * n * 2, 3, stride=2, rngs=rngs) for n in (1, 2)])
        self.middle = nnx.List([Residual(width * 4, rngs=rngs) for _ in range(residuals)])
        self.up = nnx.List([Block(width * n * 2, width * n, 3, rngs=rngs) for n in (2, 1)])
        self.end = nnx.Conv(width, 3, (9, 9), padding="REFLECT", rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """The stylised images."""
        x = nnx.relu(self.start(images - 0.5))
        for block in self.down:
            x = nnx.relu(block(x))
        for block in self.middle:
            x = block(x)
        for block in self.up:  # repeating pixels leaves no checkerboard, as a transposed convolution does
            x = nnx.relu(block(x.repeat(2, axis=1).repeat(2, axis=2)))
        return nnx.sigmoid(self.end(x))[:, : images.shape[1], : images.shape[2]]


@nnx.jit
def train_step(network: Network, optimizer: nnx.Optimizer[Network], frozen: Frozen, contents: jax.Array) -> jax.Array:
    """Change the network by one step; return the loss before it."""
    loss, gradient = nnx.value_and_grad(lambda network: mean_loss(frozen, network(contents), contents))(network)
    optimizer.update(network, gradient)
    return loss


def main() -> None:
    """Train, and write the picture."""
    network = Network(rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(network, OPTIMIZER, wrt=nnx.Param)

    def step(frozen: Frozen, contents: np.ndarray) -> jax.Array:
        return train_step(network, optimizer, frozen, jnp.asarray(contents))

    train(step, nnx.jit(lambda contents: network(contents)), "feed_forward_nnx.png")


if __name__ == "__main__":
    main()
