"""3x3 convolution of a frozen network, with an input gradient that stays fast inside loops.

Images are float, channels-last, shape (h, w, c), one image: vmap for more.
"""

import jax
from jax import lax


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(
        x[None],
        kernel,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )[0]


@jax.custom_vjp
def conv3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Cross-correlate an image with 3x3 kernels: stride 1, zero padding, same size out.

    The gradient with respect to `x` is written as a forward convolution with the flipped, transposed kernel:
    the same numbers as XLA's own gradient convolution, which misses XLA's fast path on CPU when it
    stands inside a loop (https://github.com/jax-ml/jax/issues/12868).
    Reverse mode only: `jax.jvp` raises TypeError.

    Args:
      x: (h, w, c_in), of the kernel's dtype.
      kernel: (3, 3, c_in, c_out).

    Returns:
      (h, w, c_out).
    """
    return _convolve(x, kernel)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return conv3x3(x, kernel), (x, kernel)


def _backward(residuals: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    # conv3x3 itself, so that a gradient of the gradient has a rule too.
    dx = conv3x3(g, kernel[::-1, ::-1].swapaxes(2, 3))
    # Compiled away where nobody asks for it, which is the usual case of a frozen network.
    (dkernel,) = jax.vjp(lambda k: _convolve(x, k), kernel)[1](g)
    return dx, dkernel


conv3x3.defvjp(_forward, _backward)
