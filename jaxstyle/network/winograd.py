"""Winograd's minimal filtering F(m x m, 3 x 3) for 3x3 convolutions (Lavin and Gray, arXiv 1509.09308), for CPUs.

The network is frozen, so the kernels are transformed once, outside of any loop. XLA on CPU drops
`lax.optimization_barrier` before it fuses, and fusing the transforms with each other computes them again and again;
a matrix product is a library call that nothing fuses through. So the transform along one axis is written as a small
matrix times everything, and only the one along the other axis is left to fusion.

One set of transformed kernels serves the gradient too, which is the exact transpose: each matrix transposed, in reverse
order. Its tiles overlap in the result instead of in the input and are added up, so that what a frame around the image
has to get is there without another tile, and edge pixels that stood for the frame get it at no cost.

What was tried and did not pay on CPU: F(2) (too few multiplications saved); F(6) for kernels of more than 128 x 128
channels (larger kernels to read); barriers and loops over row blocks (fused again: slower than XLA's);
a flat stack of all 36 or 64 transformed planes (3 to 4 times slower to write than a stack of stacks); bfloat16 products
(14 % error in the image's gradient).
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
"""Interpolation points of F(m, 3); None is infinity. With 1/2 and -1/2, F(6) is as accurate as F(4)."""

_MIN_CHANNELS = 16  # below, as in conv1_1, transforms cost more than they save
_MAX_CHANNELS_F6 = 128


class Transforms(NamedTuple):
    """Float64 matrices of F(m, 3): y = output @ ((kernel @ g) * (input @ d)) for m + 2 inputs d and 3 taps g.

    Attributes:
      kernel: (m + 2, 3).
      input: (m + 2, m + 2).
      output: (m, m + 2).
    """

    kernel: Float[np.ndarray, "a 3"]
    input: Float[np.ndarray, "a a"]
    output: Float[np.ndarray, "m a"]


def tile_size(c_in: int, c_out: int) -> int | None:
    """Output tile m of the fastest F(m x m, 3 x 3) for a kernel's channels, the same in both directions.

    Measured on AVX2 with jax 0.10 and 0.12, against XLA's convolution:
    64 channels 0.5 to 0.6 of its time, 128 0.3 to 0.5, 256 0.3 to 0.4, 512 0.2 to 0.5 (fewer tiles: slower).

    Args:
      c_in: channels of the input.
      c_out: channels of the output.

    Returns:
      4 or 6; None where XLA's convolution is faster.
    """
    if min(c_in, c_out) < _MIN_CHANNELS:
        return None
    return 6 if c_in * c_out <= _MAX_CHANNELS_F6**2 else 4


def transform_kernel(kernel: Float[Array, "3 3 c_in c_out"], m: int) -> Float[Array, "points c_in c_out"]:
    """Transform a kernel, for `convolve`.

    Args:
      kernel: (3, 3, c_in, c_out).
      m: output tile, from `tile_size`.

    Returns:
      ((m + 2)^2, c_in, c_out).
    """
    one = _transforms(m).kernel
    both = jnp.asarray(np.kron(one, one), kernel.dtype)
    product = jnp.matmul(both, kernel.reshape(9, -1), precision="highest")
    return product.reshape((m + 2) ** 2, *kernel.shape[2:])


def row_transforms(
    transformed: Float[Array, "points c_in c_out"],
) -> tuple[Float[Array, "a a"], Float[Array, "m a"]]:
    """Matrices that `convolve` and `transpose` transform rows with, in the dtype of the transformed kernels.

    Args:
      transformed: from `transform_kernel`.

    Returns:
      Of the input (m + 2, m + 2) and of the output (m, m + 2).
    """
    t = _transforms_of(transformed)
    return jnp.asarray(t.input, transformed.dtype), jnp.asarray(t.output, transformed.dtype)


@functools.partial(jax.jit, static_argnames="padding", inline=True)  # traced once for layers of one shape
def convolve(
    x: Float[Array, "n h w c_in"],
    transformed: Float[Array, "points c_in c_out"],
    rows: tuple[Float[Array, "a a"], Float[Array, "m a"]],
    *,
    padding: str = "zero",
) -> Float[Array, "n h w c_out"]:
    """3x3 convolution, stride 1, same size out, by transformed kernels.

    Args:
      x: (n, h, w, c_in).
      transformed: ((m + 2)^2, c_in, c_out), from `transform_kernel`.
      rows: `row_transforms(transformed)`: arguments, since `custom_vmap` allows no constants.
      padding: one of `layers.PADDINGS`.

    Returns:
      (n, h, w, c_out); in float32 within 1e-5 (relative L2) of the exact result.
    """
    t = _transforms_of(transformed)
    m, a = t.output.shape
    n, h, w, c = x.shape
    down, across = -(-h // m), -(-w // m)
    x = jnp.pad(x, ((0, 0), (1, down * m + 1 - h), (1, across * m + 1 - w), (0, 0)))
    taps = _take_taps(x, h, m, padding, axis=1)
    x = exact_matmul(rows[0], jnp.stack(taps).reshape(a, -1)).reshape(a, n * down, across * m + 2, c)
    products = _multiply(_combine_columns(t.input, _take_taps(x, w, m, padding, axis=2)), transformed, contract=1)
    # Columns by fusion, then rows by a matrix product, as at the input.
    columns = _combine_columns(t.output, [products[:, j] for j in range(a)])
    y = exact_matmul(rows[1], jnp.stack(columns, axis=3).reshape(a, -1))
    y = y.reshape(m, n, down, across * m, -1).transpose(1, 2, 0, 3, 4)
    return y.reshape(n, down * m, across * m, -1)[:, :h, :w]


@functools.partial(jax.jit, static_argnames="padding", inline=True)
def transpose(
    g: Float[Array, "n h w c_out"],
    transformed: Float[Array, "points c_in c_out"],
    rows: tuple[Float[Array, "a a"], Float[Array, "m a"]],
    *,
    padding: str = "zero",
) -> Float[Array, "n h w c_in"]:
    """The transpose of `convolve`, which is its gradient with respect to the input.

    Args:
      g: (n, h, w, c_out), the cotangent.
      transformed: as of `convolve`.
      rows: as of `convolve`.
      padding: as of `convolve`.

    Returns:
      (n, h, w, c_in), as exact as `convolve`.
    """
    t = _transforms_of(transformed)
    m, a = t.output.shape
    n, h, w, c = g.shape
    down, across = -(-h // m), -(-w // m)
    g = jnp.pad(g, ((0, 0), (0, down * m - h), (0, across * m - w), (0, 0))).reshape(n * down, m, across * m, c)
    x = exact_matmul(rows[1].T, jnp.stack([g[:, i] for i in range(m)]).reshape(m, -1)).reshape(
        a, n * down, across, m, c
    )
    products = _multiply(_combine_columns(t.output.T, [x[:, :, :, j] for j in range(m)]), transformed, contract=2)
    columns = _combine_columns(t.input.T, [products[:, j] for j in range(a)])
    columns = jnp.stack(_add_up(columns, w, padding, axis=2), axis=3)
    y = exact_matmul(rows[0].T, columns.reshape(a, -1)).reshape(a, n, down, across * m, -1)
    y = jnp.stack(_add_up([y[i] for i in range(a)], h, padding, axis=1), axis=2)
    return y.reshape(n, down * m, across * m, -1)[:, :h, :w]


def _take_taps(x: jax.Array, size: int, m: int, padding: str, *, axis: int) -> list[jax.Array]:
    """The m + 2 values that each tile along an axis reads, as arrays with a tile at each index of the axis.

    Args:
      x: with a frame of zeros around its `size` positions, and zeros up to whole tiles.
      size: positions along the axis.
      m: positions of a tile.
      padding: as of `convolve`; the nearest position stands for the frame by a selection, which is fused with what
        follows, where a frame of it would be a copy of everything.
      axis: of the positions.
    """
    count = -(-size // m)
    taps = [lax.slice_in_dim(x, i, i + m * (count - 1) + 1, m, axis=axis) for i in range(m + 2)]
    if padding == "replicate":
        tile = lax.broadcasted_iota(jnp.int32, [count if i == axis else 1 for i in range(x.ndim)], axis)
        after = (size - 1) % m + 2  # the first position behind the last, in the last tile
        taps[0] = jnp.where(tile == 0, taps[1], taps[0])
        taps[after] = jnp.where(tile == count - 1, taps[after - 1], taps[after])
    return taps


def _add_up(taps: list[jax.Array], size: int, padding: str, *, axis: int) -> list[jax.Array]:
    """Sums of overlapping tiles along an axis of `size` positions.

    Args:
      taps: m + 2 arrays with a tile at each index of the axis, the first of them at the position before the tile's own.
      size: positions in all tiles but for the last one's surplus.
      padding: as of `convolve`; what lies outside of all positions is dropped, or goes to the nearest one.
      axis: of the tiles.

    Returns:
      m arrays, of the tiles' own positions.
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
    """Products (a, a, n * down, across, c_to) of tiles with kernels, of a planes (a, n * down, across, c_from)."""
    a, *tiles, c = planes[0].shape
    stacked = jnp.stack([plane.reshape(a, -1, c) for plane in planes], axis=1).reshape(a * a, -1, c)
    return lax.dot_general(stacked, transformed, (((2,), (contract,)), ((0,), (0,)))).reshape(a, a, *tiles, -1)


def _transforms_of(transformed: jax.Array) -> Transforms:
    return _transforms(round(transformed.shape[0] ** 0.5) - 2)


def _combine_columns(matrix: np.ndarray, xs: list[jax.Array]) -> list[jax.Array]:
    """The matrix times a vector of arrays, left to fusion."""
    return [_combine(row, xs) for row in matrix]


def _combine(row: np.ndarray, xs: list[jax.Array]) -> jax.Array:
    # lax, not jnp: a third of the time to trace the network was spent in jnp's wrappers of these.
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
    """Output, kernel and input matrices of F(m, 3) at the given points, exactly."""
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
        whole = lcm(*(v.denominator for v in row))  # whole numbers in the input's transform: exact in any dtype
        output.append(powers)
        kernel.append([v / whole for v in taps])
        inputs.append([v * whole for v in row])
    return [list(column) for column in zip(*output, strict=True)], kernel, inputs


def _polynomial(roots: list[Fraction]) -> list[Fraction]:
    """Coefficients of the product of (x - root), the constant first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [*(root * c for c in coefficients), Fraction(0)]
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients
