"""3x3 convolution of a frozen network. It is fast on each backend, and so is its gradient to the image, also in loops.

Images are float, channels-last, of shape (h, w, c). Functions take one image; `jax.vmap` takes more.
"""

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float

from jaxstyle.network import winograd

_Prepared = tuple[jax.Array, tuple[jax.Array, jax.Array]] | None
"""Transformed kernels and the matrices of `winograd.height_transforms`, or None."""


class _Options(NamedTuple):
    """What a convolution is compiled for: whether Winograd's algorithm runs on every platform; bfloat16; padding."""

    everywhere: bool
    bfloat16: bool
    padding: str


@jax.jit
def prepare_kernel(kernel: Float[Array, "3 3 c_in c_out"]) -> Float[Array, "points c_in c_out"] | None:
    """Transform a kernel so that `conv3x3` is fast on CPU.

    In a program compiled for another platform, the result is zeros, which that program never reads.

    Args:
      kernel: (3, 3, c_in, c_out).

    Returns:
      The transformed kernel ((m + 2)^2, c_in, c_out), see `winograd.transform_kernel`; None if `winograd.tile_size`
      is None.
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


def conv3x3(
    x: Float[Array, "h w c_in"],
    kernel: Float[Array, "kernel_h kernel_w c_in c_out"],
    prepared: Float[Array, "points c_in c_out"] | None = None,
    *,
    backend: str = "auto",
    bfloat16: bool = False,
    padding: str = "zero",
) -> Float[Array, "h w c_out"]:
    """Cross-correlate an image with 3x3 kernels, with stride 1. The result has the image's size.

    The gradient with respect to `x` is written as a forward convolution, because XLA's own gradient misses the fast
    path on CPU inside a loop (https://github.com/jax-ml/jax/issues/12868). Reverse mode works to any order, while
    forward mode such as `jax.jvp` raises TypeError.

    Args:
      x: (h, w, c_in), of the kernel's dtype.
      kernel: (3, 3, c_in, c_out). Another odd size is allowed with zero padding and without `prepared`.
      prepared: None or `prepare_kernel(kernel)`. The gradient with respect to it is zero: the gradient with respect to
        `kernel` is the whole one.
      backend: one of `layers.BACKENDS`. "auto" takes Winograd's algorithm on CPU if there is `prepared`, and XLA's
        convolution otherwise. "xla" takes XLA's on every platform. "winograd" takes Winograd's on every platform, for
        kernels that have a tile size.
      bfloat16: whether a TPU or GPU computes three bfloat16 products instead of one in float32, and a single one in the
        gradient with respect to `x`. A CPU only rounds that gradient's input. If False, float32 is computed at full
        precision on every platform.
      padding: one of `layers.PADDINGS`.

    Returns:
      (h, w, c_out).
    """
    m = winograd.tile_size(*kernel.shape[2:])
    if backend == "xla" or m is None:
        prepared = None
    elif backend == "winograd":
        transformed = partial(winograd.transform_kernel, m=m)
        if prepared is None:
            prepared = transformed(kernel)
        else:  # `prepared` is zeros in a program for another platform
            prepared = lax.platform_dependent(
                kernel, prepared, cpu=lambda _, u: u, default=lambda kernel, _: transformed(kernel)
            )
    return _conv3x3(_Options(backend == "winograd", bfloat16, padding), x, kernel, prepared)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv3x3(options: _Options, x: jax.Array, kernel: jax.Array, prepared: jax.Array | None) -> jax.Array:
    return _apply(options, False)(x, kernel, prepared)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv3x3_transposed(options: _Options, g: jax.Array, kernel: jax.Array, prepared: jax.Array | None) -> jax.Array:
    """Compute the gradient of `conv3x3` with respect to x: (h, w, c_out) -> (h, w, c_in)."""
    return _apply(options, True)(g, kernel, prepared)


def _pad(x: jax.Array) -> jax.Array:
    """Put a frame of the nearest pixels around images: (n, h, w, c) -> (n, h + 2, w + 2, c)."""
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")


def _convolve(
    x: jax.Array,
    kernel: jax.Array,
    frame: int | None = None,
    *,
    precision: lax.Precision = lax.Precision.HIGHEST,
    dtype: jax.typing.DTypeLike | None = None,
) -> jax.Array:
    """Convolve images (n, h, w, c_in) by XLA, with `frame` zeros around them; None: as many as keep their size."""
    if x.dtype == jnp.bfloat16:
        precision = lax.Precision.DEFAULT  # a single product is exact for bfloat16 operands
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME" if frame is None else ((frame, frame), (frame, frame)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
        preferred_element_type=dtype,
    )


def _convolve_in_three(x: jax.Array, kernel: jax.Array, frame: int | None) -> jax.Array:
    """Convolve by three bfloat16 products, which keep the 16 leading bits of float32 operands.

    A single bfloat16 product changes the sign of so many sums close to 0 that the image's gradient is off by 7 to 14 %.
    With TF32 (10 bits, which Precision.HIGH may mean on a GPU) it is off by 2 to 4 %, and with this by less than 1 %.
    """

    def split(a: jax.Array) -> tuple[jax.Array, jax.Array]:
        high = _round(a)
        return high.astype(jnp.bfloat16), (a - high).astype(jnp.bfloat16)

    (x1, x2), (k1, k2) = split(x), split(kernel)
    product = partial(_convolve, frame=frame, dtype=jnp.float32)
    return (product(x2, k1) + product(x1, k2) + product(x1, k1)).astype(x.dtype)


def _round(x: jax.Array) -> jax.Array:
    """Round to values that bfloat16 can hold. XLA never drops this, as it may drop a pair of conversions."""
    bits = jnp.finfo(jnp.bfloat16)
    return lax.reduce_precision(x, bits.nexp, bits.nmant)


def _convolve_images(
    x: jax.Array, kernel: jax.Array, prepared: _Prepared, *, options: _Options, transposed: bool
) -> jax.Array:
    """Convolve images x (..., h, w, c), or apply the transpose of the convolution."""

    def by_xla(x: jax.Array, kernel: jax.Array, *_: Any) -> jax.Array:
        convolve = partial(_convolve_by_xla, kernel=kernel, bfloat16=options.bfloat16, transposed=transposed)
        if options.padding == "zero":
            return convolve(x)
        if not transposed:
            return convolve(_pad(x), frame=0)
        padded = convolve(x, frame=2)
        return jax.linear_transpose(_pad, padded[:, 1:-1, 1:-1])(padded)[0]

    def by_winograd(x: jax.Array, _: jax.Array, prepared: Any) -> jax.Array:
        convolve = winograd.transpose if transposed else winograd.convolve
        return convolve(x, *prepared, padding=options.padding)

    images = x.reshape(-1, *x.shape[-3:])
    if transposed and options.bfloat16:
        images = _round(images)
    if prepared is None:
        y = by_xla(images, kernel)
    elif options.everywhere:
        y = by_winograd(images, kernel, prepared)
    else:
        y = lax.platform_dependent(images, kernel, prepared, cpu=by_winograd, default=by_xla)
    return y.reshape(*x.shape[:-1], -1)


def _convolve_by_xla(
    x: jax.Array, kernel: jax.Array, bfloat16: bool, transposed: bool, frame: int | None = None
) -> jax.Array:
    if transposed:
        kernel = kernel[::-1, ::-1].swapaxes(2, 3)
    if not bfloat16:
        return _convolve(x, kernel, frame)
    if transposed:
        return _convolve(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), frame).astype(x.dtype)
    # On a TPU, Precision.HIGH is three bfloat16 products.
    high = partial(_convolve, frame=frame, precision=lax.Precision.HIGH)
    in_three, exact = partial(_convolve_in_three, frame=frame), partial(_convolve, frame=frame)
    return lax.platform_dependent(x, kernel, cpu=exact, tpu=high, default=in_three)


@cache
def _apply(options: _Options, transposed: bool) -> Any:
    """Make the convolution with a rule for vmap: vmapped images become one batch.

    Under vmap's own rule the batch would have a layout that is slow.
    """
    convolve = partial(_convolve_images, options=options, transposed=transposed)

    @custom_vmap
    def on_images(x: jax.Array, kernel: jax.Array, prepared: _Prepared) -> jax.Array:
        return convolve(x, kernel, prepared)

    @on_images.def_vmap
    def _(axis_size: int, in_batched: Any, x: jax.Array, kernel: jax.Array, prepared: _Prepared) -> Any:
        if not any(jax.tree.leaves(in_batched[1:])):
            return on_images(x, kernel, prepared), True
        # Each image has its own kernel. This also happens in a lax.cond whose condition is batched.
        axes = jax.tree.map(lambda batched: 0 if batched else None, tuple(in_batched))
        return jax.vmap(convolve, axes, axis_size=axis_size)(x, kernel, prepared), True

    def apply(x: jax.Array, kernel: jax.Array, prepared: jax.Array | None) -> jax.Array:
        matrices = None if prepared is None else winograd.height_transforms(prepared)
        return on_images(x, kernel, None if prepared is None else (prepared, matrices))

    return apply


_Operands = tuple[jax.Array, jax.Array, jax.Array | None]


def _forward(options: _Options, *operands: Any) -> tuple[jax.Array, _Operands]:
    return _conv3x3(options, *operands), operands


def _backward(options: _Options, operands: _Operands, g: jax.Array) -> _Operands:
    x, kernel, prepared = operands
    return _conv3x3_transposed(options, g, kernel, prepared), _kernel_gradient(options, x, kernel, g), _zeros(prepared)


def _forward_transposed(options: _Options, *operands: Any) -> tuple[jax.Array, _Operands]:
    return _conv3x3_transposed(options, *operands), operands


def _backward_transposed(options: _Options, operands: _Operands, x: jax.Array) -> _Operands:
    g, kernel, prepared = operands
    # <x, conv'(g)> = <conv(x), g>, so the kernel's gradient is the same as in the convolution of x.
    return _conv3x3(options, x, kernel, prepared), _kernel_gradient(options, x, kernel, g), _zeros(prepared)


def _kernel_gradient(options: _Options, x: jax.Array, kernel: jax.Array, g: jax.Array) -> jax.Array:
    # The network is usually frozen; then nothing reads this gradient, and the compiler removes it.
    def convolve(kernel: jax.Array) -> jax.Array:
        return _convolve(x[None], kernel) if options.padding == "zero" else _convolve(_pad(x[None]), kernel, 0)

    return jax.vjp(convolve, kernel)[1](g[None])[0]


def _zeros(prepared: jax.Array | None) -> jax.Array | None:
    return None if prepared is None else jnp.zeros_like(prepared)


_conv3x3.defvjp(_forward, _backward)
_conv3x3_transposed.defvjp(_forward_transposed, _backward_transposed)
