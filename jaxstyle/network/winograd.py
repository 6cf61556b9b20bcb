"""Winograd's minimal filtering F(m x m, 3 x 3) for 3x3 convolutions (Lavin and Gray, arXiv 1509.09308), for CPUs.

The network is frozen, so the kernels are transformed once, outside of any loop.

XLA on CPU drops `lax.optimization_barrier` before it fuses operations. If it fuses the transforms with each other, it
computes them again and again. Nothing is fused through a matrix product, which is a library call. So the transform
along the height is a product of a small matrix and everything, and only the transform along the width is left to
fusion.

The gradient uses the same transformed kernels. It is the exact transpose: the transposed matrices in reverse order. Its
tiles overlap in the result instead of in the input, and are added up. So the gradient of the frame around the image
needs no further tile, and with replicate padding it is added to the edge pixels at no cost.

These were tried and did not pay on CPU:
- F(2) saves too few multiplications.
- F(6) for kernels of more than 128 x 128 channels has to read larger kernels.
- Barriers and loops over blocks of rows are fused again, and are slower than XLA's convolution.
- A flat stack of all 36 or 64 transformed planes takes 3 to 4 times as long to write as a stack of stacks.
- Products in bfloat16 give the image's gradient an error of 14 %.
"""

import functools
from fractions import Fraction
from math import lcm, prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.common.exact_matmul import exact_matmul

_POINTS: dict[int, tuple[Fraction | None, ...]] = {
    4: (*map(Fraction, (0, 1, -1, 2, -2)), None),
    6: (*map(Fraction, (0, 1, -1, 2, -2)), Fraction(1, 2), Fraction(-1, 2), None),
}
"""Interpolation points of F(m, 3). None stands for infinity. With 1/2 and -1/2, F(6) is as accurate as F(4)."""

_MIN_CHANNELS = 16  # with fewer channels, as in conv1_1, the transforms cost more than they save
_MAX_CHANNELS_F6 = 128


class Transforms(NamedTuple):
    """The float64 matrices of F(m, 3): y = output @ ((kernel @ g) * (input @ d)) for m + 2 inputs d and 3 taps g.

    Attributes:
      kernel: (m + 2, 3).
      input: (m + 2, m + 2).
      output: (m, m + 2).
    """

    kernel: Float[np.ndarray, "a 3"]
    input: Float[np.ndarray, "a a"]
    output: Float[np.ndarray, "m a"]


def tile_size(c_in: int, c_out: int) -> int | None:
    """Choose the output tile m of the fastest F(m x m, 3 x 3) for a kernel. It is the same for the gradient.

    On AVX2 with jax 0.10 and 0.12, the algorithm took these parts of the time of XLA's convolution: 0.5 to 0.6 for 64
    channels, 0.3 to 0.5 for 128, 0.3 to 0.4 for 256, and 0.2 to 0.5 for 512. It gains less with fewer tiles.

    Args:
      c_in: channels of the input.
      c_out: channels of the output.

    Returns:
      4 or 6; None if XLA's convolution is faster.
    """
    if min(c_in, c_out) < _MIN_CHANNELS:
        return None
    return 6 if c_in * c_out <= _MAX_CHANNELS_F6**2 else 4


def transform_kernel(kernel: Float[Array, "3 3 c_in c_out"], m: int) -> Float[Array, "points c_in c_out"]:
    """Transform a kernel for `convolve` and `transpose`.

    Args:
      kernel: (3, 3, c_in, c_out).
      m: the output tile, from `tile_size`.

    Returns:
      ((m + 2)^2, c_in, c_out).
    """
    one = _transforms(m).kernel
    both = jnp.asarray(np.kron(one, one), kernel.dtype)
    product = jnp.matmul(both, kernel.reshape(9, -1), precision="highest")
    return product.reshape((m + 2) ** 2, *kernel.shape[2:])


def height_transforms(
    transformed: Float[Array, "points c_in c_out"],
) -> tuple[Float[Array, "a a"], Float[Array, "m a"]]:
    """Return the matrices by which `convolve` and `transpose` transform along the height, in the kernels' dtype.

    Args:
      transformed: from `transform_kernel`.

    Returns:
      The matrix for the input (m + 2, m + 2) and the matrix for the output (m, m + 2).
    """
    t = _transforms_of(transformed)
    return jnp.asarray(t.input, transformed.dtype), jnp.asarray(t.output, transformed.dtype)


@functools.partial(jax.jit, static_argnames="padding", inline=True)  # traced once for layers of one shape
def convolve(
    x: Float[Array, "n h w c_in"],
    transformed: Float[Array, "points c_in c_out"],
    matrices: tuple[Float[Array, "a a"], Float[Array, "m a"]],
    *,
    padding: str = "zero",
) -> Float[Array, "n h w c_out"]:
    """Convolve images by transformed 3x3 kernels, with stride 1. The result has the images' size.

    Args:
      x: (n, h, w, c_in).
      transformed: ((m + 2)^2, c_in, c_out), from `transform_kernel`.
      matrices: `height_transforms(transformed)`. They are an argument because `custom_vmap` allows no constants.
      padding: one of `layers.PADDINGS`.

    Returns:
      (n, h, w, c_out). In float32 it is within 1e-5 (relative L2) of the exact result.
    """
    t = _transforms_of(transformed)
    m, a = t.output.shape
    n, h, w, c = x.shape
    down, across = -(-h // m), -(-w // m)
    x = jnp.pad(x, ((0, 0), (1, down * m + 1 - h), (1, across * m + 1 - w), (0, 0)))
    taps = _take_taps(x, h, m, padding, axis=1)
    x = exact_matmul(matrices[0], jnp.stack(taps).reshape(a, -1)).reshape(a, n * down, across * m + 2, c)
    products = _multiply(_combine_columns(t.input, _take_taps(x, w, m, padding, axis=2)), transformed, contract=1)
    # The transform along the width is left to fusion, and the one along the height is a matrix product, as above.
    columns = _combine_columns(t.output, [products[:, j] for j in range(a)])
    y = exact_matmul(matrices[1], jnp.stack(columns, axis=3).reshape(a, -1))
    y = y.reshape(m, n, down, across * m, -1).transpose(1, 2, 0, 3, 4)
    return y.reshape(n, down * m, across * m, -1)[:, :h, :w]


@functools.partial(jax.jit, static_argnames="padding", inline=True)
def transpose(
    g: Float[Array, "n h w c_out"],
    transformed: Float[Array, "points c_in c_out"],
    matrices: tuple[Float[Array, "a a"], Float[Array, "m a"]],
    *,
    padding: str = "zero",
) -> Float[Array, "n h w c_in"]:
    """Apply the transpose of `convolve`, which is its gradient with respect to the input.

    Args:
      g: (n, h, w, c_out) the cotangent.
      transformed: as in `convolve`.
      matrices: as in `convolve`.
      padding: as in `convolve`.

    Returns:
      (n, h, w, c_in), as exact as the result of `convolve`.
    """
    t = _transforms_of(transformed)
    m, a = t.output.shape
    n, h, w, c = g.shape
    down, across = -(-h // m), -(-w // m)
    g = jnp.pad(g, ((0, 0), (0, down * m - h), (0, across * m - w), (0, 0))).reshape(n * down, m, across * m, c)
    x = exact_matmul(matrices[1].T, jnp.stack([g[:, i] for i in range(m)]).reshape(m, -1)).reshape(
        a, n * down, across, m, c
    )
    products = _multiply(_combine_columns(t.output.T, [x[:, :, :, j] for j in range(m)]), transformed, contract=2)
    columns = _combine_columns(t.input.T, [products[:, j] for j in range(a)])
    columns = jnp.stack(_add_up(columns, w, padding, axis=2), axis=3)
    y = exact_matmul(matrices[0].T, columns.reshape(a, -1)).reshape(a, n, down, across * m, -1)
    y = jnp.stack(_add_up([y[i] for i in range(a)], h, padding, axis=1), axis=2)
    return y.reshape(n, down * m, across * m, -1)[:, :h, :w]


def _take_taps(x: jax.Array, size: int, m: int, padding: str, *, axis: int) -> list[jax.Array]:
    """Collect the m + 2 values that each tile along an axis reads, as arrays with a tile at each index of the axis.

    With replicate padding, a selection puts the nearest position in place of the frame. The selection is fused with
    what follows, while padding with the nearest position would copy everything.

    Args:
      x: the values, with a frame of zeros around the `size` positions, and zeros up to whole tiles.
      size: number of positions along the axis.
      m: number of positions of a tile.
      padding: as in `convolve`.
      axis: the axis of the positions.
    """
    count = -(-size // m)
    taps = [lax.slice_in_dim(x, i, i + m * (count - 1) + 1, m, axis=axis) for i in range(m + 2)]
    if padding == "replicate":
        tile = lax.broadcasted_iota(jnp.int32, [count if i == axis else 1 for i in range(x.ndim)], axis)
        after = (size - 1) % m + 2  # index, in the last tile, of the position after the image's last one
        taps[0] = jnp.where(tile == 0, taps[1], taps[0])
        taps[after] = jnp.where(tile == count - 1, taps[after - 1], taps[after])
    return taps


def _add_up(taps: list[jax.Array], size: int, padding: str, *, axis: int) -> list[jax.Array]:
    """Add up overlapping tiles along an axis of `size` positions.

    Values outside of all positions are dropped with zero padding; with replicate padding, the nearest position gets
    them.

    Args:
      taps: m + 2 arrays with a tile at each index of the axis. The first is for the position before the tile's own.
      size: number of positions along the axis; the last tile may have more.
      padding: as in `convolve`.
      axis: the axis of the tiles.

    Returns:
      m arrays, one for each of a tile's own positions.
    """
    m, count = len(taps) - 2, taps[0].shape[axis]

    def moved(x: jax.Array, start: int, stop: int, to: int) -> jax.Array:
        widths = [(0, 0)] * x.ndim
        widths[axis] = (to, count - to - (stop - start))
        return jnp.pad(lax.slice_in_dim(x, start, stop, axis=axis), widths)

    own = taps[1:-1]
    if count > 1:
        own[0] = own[0] + moved(taps[-1], 0, count - 1, 1)
        own[-1] = own[-1] + moved(taps[0], 1, count, 0)
    if padding == "replicate":
        last = (size - 1) % m
        own[0] = own[0] + moved(taps[0], 0, 1, 0)
        own[last] = own[last] + moved(taps[last + 2], count - 1, count, count - 1)
    return own


def _multiply(planes: list[jax.Array], transformed: jax.Array, contract: int) -> jax.Array:
    """Multiply tiles, `a` planes of shape (a, n * down, across, c_from), by kernels: (a, a, n * down, across, c_to)."""
    a, *tiles, c = planes[0].shape
    stacked = jnp.stack([plane.reshape(a, -1, c) for plane in planes], axis=1).reshape(a * a, -1, c)
    return lax.dot_general(stacked, transformed, (((2,), (contract,)), ((0,), (0,)))).reshape(a, a, *tiles, -1)


def _transforms_of(transformed: jax.Array) -> Transforms:
    return _transforms(round(transformed.shape[0] ** 0.5) - 2)


def _combine_columns(matrix: np.ndarray, xs: list[jax.Array]) -> list[jax.Array]:
    """Multiply a matrix by a vector of arrays. XLA fuses the result with what follows."""
    return [_combine(row, xs) for row in matrix]


def _combine(row: np.ndarray, xs: list[jax.Array]) -> jax.Array:
    # These are functions of lax because their wrappers in jnp took a third of the time to trace the network.
    terms = [
        x if a == 1 else lax.neg(x) if a == -1 else lax.mul(x, x.dtype.type(a))
        for a, x in zip(row, xs, strict=True)
        if a
    ]
    return functools.reduce(lax.add, terms)


@functools.cache
def _transforms(m: int) -> Transforms:
    output, kernel, inputs = _cook_toom(m, _POINTS[m])
    return Transforms(*(np.array([[float(v) for v in row] for row in matrix]) for matrix in (kernel, inputs, output)))


_Matrix = list[list[Fraction]]


def _cook_toom(m: int, points: tuple[Fraction | None, ...]) -> tuple[_Matrix, _Matrix, _Matrix]:
    """Compute the output, kernel and input matrices of F(m, 3) at the given points exactly."""
    finite = [p for p in points if p is not None]
    output, kernel, inputs = [], [], []
    for p in points:
        if p is None:
            taps, row = [Fraction(0), Fraction(0), Fraction(1)], _polynomial(finite)
            powers = [Fraction(0)] * (m - 1) + [Fraction(1)]
        else:
            others = [q for q in finite if q != p]
            scale = prod((p - q for q in others), start=Fraction(1))
            taps, row = [p**k / scale for k in range(3)], [*_polynomial(others), Fraction(0)]
            powers = [p**i for i in range(m)]
        whole = lcm(*(v.denominator for v in row))  # so that the input's transform is whole numbers, exact in any dtype
        output.append(powers)
        kernel.append([v / whole for v in taps])
        inputs.append([v * whole for v in row])
    return [list(column) for column in zip(*output, strict=True)], kernel, inputs


def _polynomial(roots: list[Fraction]) -> list[Fraction]:
    """Return the coefficients of the product of all (x - root), the constant first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [*(root * c for c in coefficients), Fraction(0)]
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients
