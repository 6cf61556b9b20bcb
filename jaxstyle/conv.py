"""3x3 convolution of a frozen network, fast on each backend, with a gradient to the image that stays fast in loops.

Images are float, channels-last, shape (h, w, c), one image: vmap for more.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from jaxstyle import winograd

_Prepared = tuple[jax.Array, tuple[jax.Array, jax.Array]] | None
"""Transformed kernels and the matrices that transform rows, or None."""


def prepare_kernel(kernel: jax.Array) -> jax.Array | None:
    """What `conv3x3` needs beside a kernel (3, 3, c_in, c_out) to be fast on CPU; None where there is nothing.

    In a program compiled for another platform it is zeros, which that program never reads.
    """
    m = winograd.tile_size(*kernel.shape[2:])
    if m is None:
        return None
    shape = ((m + 2) ** 2, *kernel.shape[2:])
    return lax.platform_dependent(
        kernel,
        cpu=lambda k: winograd.transform_kernel(k, m),
        default=lambda k: jnp.zeros(shape, k.dtype),
    )


@jax.custom_vjp
def conv3x3(x: jax.Array, kernel: jax.Array, prepared: jax.Array | None = None) -> jax.Array:
    """Cross-correlate an image with 3x3 kernels: stride 1, zero padding, same size out.

    XLA's convolution, or with `prepared`, on CPU, Winograd's. The gradient with respect to `x` is written as a
    forward convolution: XLA's own misses its fast path on CPU inside a loop
    (https://github.com/jax-ml/jax/issues/12868). Reverse mode only, of any order: `jax.jvp` raises TypeError.

    Args:
      x: (h, w, c_in), of the kernel's dtype.
      kernel: (3, 3, c_in, c_out).
      prepared: None or `prepare_kernel(kernel)`. It counts as part of the kernel: the kernel has the whole
        gradient, this has zeros.

    Returns:
      (h, w, c_out).
    """
    return _apply(x, kernel, prepared)


@jax.custom_vjp
def _conv3x3_transposed(g: jax.Array, kernel: jax.Array, prepared: jax.Array | None) -> jax.Array:
    """Gradient of `conv3x3` with respect to x: (h, w, c_out) -> (h, w, c_in)."""
    return _apply_transposed(g, kernel, prepared)


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _convolve_images(x: jax.Array, kernel: jax.Array, prepared: _Prepared, transposed: bool) -> jax.Array:
    """The convolution of images x (..., h, w, c), or its transpose."""

    def by_xla(x: jax.Array, kernel: jax.Array, *_: Any) -> jax.Array:
        return _convolve(x, kernel[::-1, ::-1].swapaxes(2, 3) if transposed else kernel)

    def by_winograd(x: jax.Array, _: jax.Array, prepared: Any) -> jax.Array:
        return winograd.convolve(x, *prepared, gradient=transposed)

    images = x.reshape(-1, *x.shape[-3:])
    if prepared is None:
        y = by_xla(images, kernel)
    else:
        y = lax.platform_dependent(images, kernel, prepared, cpu=by_winograd, default=by_xla)
    return y.reshape(*x.shape[:-1], -1)


def _make_apply(transposed: bool) -> Any:
    """The convolution with a rule that makes vmapped images one batch, whose layout vmap's own rules would spoil."""

    @custom_vmap
    def on_images(x: jax.Array, kernel: jax.Array, prepared: _Prepared) -> jax.Array:
        return _convolve_images(x, kernel, prepared, transposed)

    @on_images.def_vmap
    def _(axis_size: int, in_batched: Any, x: jax.Array, kernel: jax.Array, prepared: _Prepared) -> Any:
        if not any(jax.tree.leaves(in_batched[1:])):
            return on_images(x, kernel, prepared), True
        # A kernel an image: the case of a lax.cond whose condition is batched, too.
        axes = jax.tree.map(lambda batched: 0 if batched else None, tuple(in_batched))
        each = jax.vmap(partial(_convolve_images, transposed=transposed), axes, axis_size=axis_size)
        return each(x, kernel, prepared), True

    def apply(x: jax.Array, kernel: jax.Array, prepared: jax.Array | None) -> jax.Array:
        rows = None if prepared is None else winograd.row_transforms(prepared, gradient=transposed)
        return on_images(x, kernel, None if prepared is None else (prepared, rows))

    return apply


_apply, _apply_transposed = _make_apply(transposed=False), _make_apply(transposed=True)

_Operands = tuple[jax.Array, jax.Array, jax.Array | None]


def _forward(x: jax.Array, kernel: jax.Array, prepared: jax.Array | None) -> tuple[jax.Array, _Operands]:
    return conv3x3(x, kernel, prepared), (x, kernel, prepared)


def _backward(operands: _Operands, g: jax.Array) -> _Operands:
    x, kernel, prepared = operands
    return _conv3x3_transposed(g, kernel, prepared), _kernel_gradient(x, kernel, g), _zeros(prepared)


def _forward_transposed(g: jax.Array, kernel: jax.Array, prepared: jax.Array | None) -> tuple[jax.Array, _Operands]:
    return _conv3x3_transposed(g, kernel, prepared), (g, kernel, prepared)


def _backward_transposed(operands: _Operands, x: jax.Array) -> _Operands:
    g, kernel, prepared = operands
    # <x, conv'(g)> = <conv(x), g>, so the kernel's gradient is that of the convolution of x.
    return conv3x3(x, kernel, prepared), _kernel_gradient(x, kernel, g), _zeros(prepared)


def _kernel_gradient(x: jax.Array, kernel: jax.Array, g: jax.Array) -> jax.Array:
    # Compiled away where nobody asks for it, which is the usual case of a frozen network.
    return jax.vjp(lambda k: _convolve(x[None], k)[0], kernel)[1](g)[0]


def _zeros(prepared: jax.Array | None) -> jax.Array | None:
    return None if prepared is None else jnp.zeros_like(prepared)


conv3x3.defvjp(_forward, _backward)
_conv3x3_transposed.defvjp(_forward_transposed, _backward_transposed)
