"""Winograd's minimal filtering F(m x m, 3 x 3) for 3x3 convolutions (Lavin and Gray, arXiv 1509.09308), for CPUs.

The network is frozen, so the kernels are transformed once, outside of any loop. XLA on CPU drops
`lax.optimization_barrier` before it fuses, and fusing the transforms with each other computes them again and again;
a matrix product is a library call that nothing fuses through. So the transform along one axis is written as a small
matrix times everything, and only the one along the other axis is left to fusion.

One set of transformed kernels serves the gradient too: a flipped kernel's polynomial at the point p is the kernel's at
1/p, times p^2. The gradient uses the transforms of the inverse points and contracts the other channel axis.

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
      gradient_input: (m + 2, m + 2), as `input`, for the gradient with respect to d by the same transformed kernels.
      gradient_output: (m, m + 2), as `output`, likewise.
    """

    kernel: Float[np.ndarray, "a 3"]
    input: Float[np.ndarray, "a a"]
    output: Float[np.ndarray, "m a"]
    gradient_input: Float[np.ndarray, "a a"]
    gradient_output: Float[np.ndarray, "m a"]


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
    transformed: Float[Array, "points c_in c_out"], *, gradient: bool = False
) -> tuple[Float[Array, "a a"], Float[Array, "m a"]]:
    """Matrices that `convolve` transforms rows with, in the dtype of the transformed kernels.

    Args:
      transformed: from `transform_kernel`.
      gradient: as of `convolve`.

    Returns:
      Of the input (m + 2, m + 2) and of the output (m, m + 2).
    """
    rows_in, rows_out = _matrices(transformed, gradient)
    return jnp.asarray(rows_in, transformed.dtype), jnp.asarray(rows_out, transformed.dtype)


def _matrices(transformed: jax.Array, gradient: bool) -> tuple[np.ndarray, np.ndarray]:
    t = _transforms(round(transformed.shape[0] ** 0.5) - 2)
    return (t.gradient_input, t.gradient_output) if gradient else (t.input, t.output)


@functools.partial(jax.jit, static_argnames="gradient", inline=True)  # traced once for layers of one shape
def convolve(
    x: Float[Array, "n h w c_from"],
    transformed: Float[Array, "points c_in c_out"],
    rows: tuple[Float[Array, "a a"], Float[Array, "m a"]],
    *,
    gradient: bool = False,
) -> Float[Array, "n h w c_to"]:
    """3x3 convolution, stride 1, zero padding, by transformed kernels.

    Args:
      x: (n, h, w, c_in); with `gradient`, (n, h, w, c_out).
      transformed: ((m + 2)^2, c_in, c_out), from `transform_kernel`.
      rows: `row_transforms(transformed, gradient=gradient)`: arguments, since `custom_vmap` allows no constants.
      gradient: return the gradient (n, h, w, c_in) with respect to the input instead, of a cotangent x.

    Returns:
      (n, h, w, c_out); in float32 within 1e-5 (relative L2) of the exact result.
    """
    columns_in, columns_out = _matrices(transformed, gradient)
    m, a = columns_out.shape
    n, h, w, _ = x.shape
    down, across = -(-h // m), -(-w // m)
    tiles = _transform_input(x, rows[0], columns_in, down, across)
    products = lax.dot_general(tiles, transformed, (((2,), (2 if gradient else 1,)), ((0,), (0,))))
    products = products.reshape(a, a, n * down, across, -1)
    # Columns by fusion, then rows by a matrix product, as at the input.
    columns = [_combine(row, [products[:, j] for j in range(a)]) for row in columns_out]
    y = _times(rows[1], jnp.stack(columns, axis=3).reshape(a, -1))
    y = y.reshape(m, n, down, across * m, -1).transpose(1, 2, 0, 3, 4)
    return y.reshape(n, down * m, across * m, -1)[:, :h, :w]


def _transform_input(x: jax.Array, rows: jax.Array, columns: np.ndarray, down: int, across: int) -> jax.Array:
    """All overlapping (m + 2) x (m + 2) tiles, transformed: ((m + 2)^2, n * down * across, c)."""
    n, h, w, c = x.shape
    a = len(columns)
    m = a - 2
    x = jnp.pad(x, ((0, 0), (1, down * m + 1 - h), (1, across * m + 1 - w), (0, 0)))
    taps = [lax.slice_in_dim(x, i, i + m * (down - 1) + 1, m, axis=1) for i in range(a)]
    x = _times(rows, jnp.stack(taps).reshape(a, -1)).reshape(a, n * down, across * m + 2, c)
    taps = [lax.slice_in_dim(x, j, j + m * (across - 1) + 1, m, axis=2) for j in range(a)]
    planes = [_combine(row, taps).reshape(a, -1, c) for row in columns]
    return jnp.stack(planes, axis=1).reshape(a * a, -1, c)


def _times(matrix: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.matmul(matrix, x, precision="highest")


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
    points = _POINTS[m]
    output, kernel, inputs = _cook_toom(m, points)
    inverse = tuple(Fraction(0) if p is None else None if p == 0 else 1 / p for p in points)
    gradient_output, flipped, gradient_input = _cook_toom(m, inverse)
    # Both directions share the transformed kernels: move the scale between them to the input.
    for i, row in enumerate(flipped):
        tap = next(k for k in range(3) if row[k])
        scale = row[tap] / kernel[i][2 - tap]
        gradient_input[i] = [v * scale for v in gradient_input[i]]
    matrices = (kernel, inputs, output, gradient_input, gradient_output)
    return Transforms(*(np.array([[float(v) for v in row] for row in matrix]) for matrix in matrices))


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
