"""3x3 convolution of a frozen network. It is fast on each backend, and so is its gradient to the image, also in loops.

Images are float, channels-last, of shape (h, w, c). Functions take one image; `jax.vmap` takes more.
"""

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Float

from jaxstyle.network import winograd
from jaxstyle.network.padding import fold_of_transpose, pad

_Prepared = tuple[jax.Array, tuple[jax.Array, jax.Array]] | None
"""Transformed kernels and the matrices of `winograd.height_transforms`, or None."""


class _Options(NamedTuple):
    """What a convolution is compiled for: whether Winograd's algorithm runs on every platform, and as of `conv3x3`."""

    everywhere: bool
    precision: str
    padding: str
    pairs: bool


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
    precision: str = "float32",
    padding: str = "zero",
    pairs: bool = False,
) -> Float[Array, "h w c_out"]:
    """Cross-correlate an image with 3x3 kernels, with stride 1. The result has the image's size.

    The gradient with respect to `x` is written as a forward convolution, because XLA's own gradient misses the fast
    path on CPU inside a loop (https://github.com/jax-ml/jax/issues/12868). Reverse mode works to any order, while
    forward mode such as `jax.jvp` raises TypeError.

    Args:
      x: (h, w, c_in), of the kernel's dtype. With bfloat16 the result is bfloat16, of one product summed in float32,
        and neither `prepared` nor `backend` counts.
      kernel: (3, 3, c_in, c_out). Another odd size is allowed with zero padding and without `prepared`.
      prepared: None or `prepare_kernel(kernel)`. The gradient with respect to it is zero: the gradient with respect to
        `kernel` is the whole one.
      backend: one of `layers.BACKENDS`. "auto" takes Winograd's algorithm on CPU if there is `prepared`, and XLA's
        convolution otherwise. "xla" takes XLA's on every platform. "winograd" takes Winograd's on every platform, for
        kernels that have a tile size.
      precision: how float32 is computed: "float32", at full precision on every platform; "tensorfloat32", by GPUs with
        10 bits of their operands; or "bfloat16_3x", by TPUs and GPUs in three bfloat16 products, and in a single one in
        the gradient with respect to `x`. A CPU only rounds that gradient's input.
      padding: one of `layers.PADDINGS`.
      pairs: whether columns are pairs of pixels (see `padding`), so that the nearest pixel is the nearer one of a pair.

    Returns:
      (h, w, c_out).
    """
    m = winograd.tile_size(*kernel.shape[2:])
    if backend == "xla" or m is None or x.dtype == jnp.bfloat16:
        prepared = None
    elif backend == "winograd":
        transformed = partial(winograd.transform_kernel, m=m)
        if prepared is None:
            prepared = transformed(kernel)
        else:  # `prepared` is zeros in a program for another platform
            prepared = lax.platform_dependent(
                kernel, prepared, cpu=lambda _, u: u, default=lambda kernel, _: transformed(kernel)
            )
    return _conv3x3(_Options(backend == "winograd", precision, padding, pairs), x, kernel, prepared)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv3x3(options: _Options, x: jax.Array, kernel: jax.Array, prepared: jax.Array | None) -> jax.Array:
    return _apply(options, False)(x, kernel, prepared)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv3x3_transposed(options: _Options, g: jax.Array, kernel: jax.Array, prepared: jax.Array | None) -> jax.Array:
    """Compute the gradient of `conv3x3` with respect to x: (h, w, c_out) -> (h, w, c_in)."""
    return _apply(options, True)(g, kernel, prepared)


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
        high = round_to_bfloat16(a)
        return high.astype(jnp.bfloat16), (a - high).astype(jnp.bfloat16)

    (x1, x2), (k1, k2) = split(x), split(kernel)
    product = partial(_convolve, frame=frame, dtype=jnp.float32)
    return (product(x2, k1) + product(x1, k2) + product(x1, k1)).astype(x.dtype)


def round_to_bfloat16(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Round to values that bfloat16 can hold. XLA never drops this, as it may drop a pair of conversions.

    Args:
      x: an array of any shape. Values of bfloat16 are rounded, too, for XLA may have them in more bits.

    Returns:
      An array of the same shape, float32 for bfloat16.
    """
    bits = jnp.finfo(jnp.bfloat16)
    return lax.reduce_precision(x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x, bits.nexp, bits.nmant)


def _interleave(images: jax.Array) -> jax.Array:
    """On a TPU, lay eight or more images out pixel by pixel, as convolutions want them and Gram matrices take them.

    Without it, the layout that suits Gram matrices spreads, and every convolution has its operands copied.
    """
    return images if len(images) < 8 else with_layout_constraint(images, Layout((1, 2, 0, 3)))


def _convolve_images(
    x: jax.Array, kernel: jax.Array, prepared: _Prepared, *, options: _Options, transposed: bool
) -> jax.Array:
    """Convolve images x (..., h, w, c), or apply the transpose of the convolution."""

    def by_xla(x: jax.Array, kernel: jax.Array, *_: Any) -> jax.Array:
        convolve = partial(_convolve_by_xla, kernel=kernel, precision=options.precision, transposed=transposed)
        if options.padding == "zero":
            return convolve(x)
        if not transposed:
            return convolve(pad(x, pairs=options.pairs), frame=0)
        return convolve(x) + fold_of_transpose(x, _transposed(kernel), pairs=options.pairs)

    def by_winograd(x: jax.Array, _: jax.Array, prepared: Any) -> jax.Array:
        convolve = winograd.transpose if transposed else winograd.convolve
        return convolve(x, *prepared, padding=options.padding)

    images = x.reshape(-1, *x.shape[-3:])
    if transposed and options.precision == "bfloat16_3x":
        images = round_to_bfloat16(images)
    if images.dtype == jnp.bfloat16:
        # A CPU computes in float32 and may leave out that the result is rounded.
        y = lax.platform_dependent(
            images,
            kernel,
            cpu=lambda x, k: round_to_bfloat16(by_xla(round_to_bfloat16(x), k.astype(jnp.float32))).astype(x.dtype),
            tpu=lambda x, k: _interleave(by_xla(x, k)),
            default=by_xla,
        )
    elif prepared is None:
        y = by_xla(images, kernel)
    elif options.everywhere:
        y = by_winograd(images, kernel, prepared)
    else:
        y = lax.platform_dependent(images, kernel, prepared, cpu=by_winograd, default=by_xla)
    return y.reshape(*x.shape[:-1], -1)


def _transposed(kernel: jax.Array) -> jax.Array:
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _convolve_by_xla(
    x: jax.Array, kernel: jax.Array, precision: str, transposed: bool, frame: int | None = None
) -> jax.Array:
    if transposed:
        kernel = _transposed(kernel)
    exact, high = (partial(_convolve, frame=frame, precision=p) for p in (lax.Precision.HIGHEST, lax.Precision.HIGH))
    if precision == "float32" or x.dtype == jnp.bfloat16:
        return exact(x, kernel)
    if precision == "tensorfloat32":
        return lax.platform_dependent(x, kernel, cuda=high, default=exact)
    if transposed:
        return _convolve(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), frame).astype(x.dtype)
    # On a TPU, Precision.HIGH is three bfloat16 products.
    return lax.platform_dependent(x, kernel, cpu=exact, tpu=high, default=partial(_convolve_in_three, frame=frame))


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
        if options.padding == "zero":
            return _convolve(x[None], kernel)
        return _convolve(pad(x[None], pairs=options.pairs), kernel, 0)

    return jax.vjp(convolve, kernel)[1](g[None])[0]


def _zeros(prepared: jax.Array | None) -> jax.Array | None:
    return None if prepared is None else jnp.zeros_like(prepared)


_conv3x3.defvjp(_forward, _backward)
_conv3x3_transposed.defvjp(_forward_transposed, _backward_transposed)
