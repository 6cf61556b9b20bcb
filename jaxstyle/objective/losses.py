"""Content, Gram and total-variation losses, in the named conventions of the field.

Features are channels-last, shape (h, w, c). Functions take those of one image; `jax.vmap` takes more. Losses are
float64 for float64 features, and float32 for features of any other dtype.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.common.checks import check_shape
from jaxstyle.common.dtypes import promoted, wide, widen

CONVENTIONS: tuple[str, ...] = ("mean", "gatys", "johnson", "relative")
r"""Scalings of the two losses.

F are the image's features and P the content's. G and A are the Gram matrices F'F / N of image and style, with N = h w.

| name     | content term of a layer         | style term of a layer           |
|----------|---------------------------------|---------------------------------|
| mean     | `mean((F - P)^2)`               | `mean((G - A)^2)`               |
| gatys    | `1/2 sum((F - P)^2)`            | `1/4 mean((G - A)^2)`           |
| johnson  | `mean((F - P)^2)`               | `mean((G - A)^2) / c^2`         |
| relative | `mean((F - P)^2) / mean(P^2)`   | `mean((G - A)^2) / mean(A^2)`   |

gatys is arXiv 1508.06576. Its factor 1 / (4 c^2 N^2) for Gram matrices F'F amounts to the same for a style image of
the content's size; over N, images of different sizes compare. Content and style layers of one size make it the same as
mean with beta 2 h w c times as large, for features (h, w, c) of the content layer: it adds a dependence on the size.
johnson is jcjohnson/neural-style, whose Gram matrix is F'F / (N c), and the PyTorch tutorial; both sum the layers,
which is 5 times ours. It weights the style layers by 1 / c^2, which is another objective.
"""

_EPSILON = 1e-12
_TPU_WIDTH = 128
_GPU_PART = 2048  # positions, at most


def check_convention(convention: str) -> str:
    """Check the name of a convention.

    Args:
      convention: one of `CONVENTIONS`.

    Returns:
      The name.

    Raises:
      ValueError: for another name; the message lists the valid ones.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"unknown convention {convention!r}; valid: {', '.join(CONVENTIONS)}")
    return convention


@jax.jit
def gram_matrix(features: Float[Array, "h w c"], mask: Float[Array, "h w"] | None = None) -> Float[Array, "c c"]:
    r"""Compute the Gram matrix of a layer's features F over their $N = h w$ positions (Gatys et al., arXiv 1505.07376).

    $$G_{ij} = \frac{1}{N} \sum_{k=1}^N F_{ki} F_{kj}$$

    With a soft mask T it is the guided Gram matrix of Gatys et al. (arXiv 1611.07865, section 4): F is replaced by T F,
    and N by the sum of T^2. For a mask of zeros the result is 0.

    Products are summed in float32 at full precision on every backend. Products of bfloat16 features are exact, except
    with a mask. The gradient has the features' dtype and costs one matrix product.

    Args:
      features: (h, w, c).
      mask: (h, w) in [0, 1]; None: all positions have the same weight.

    Returns:
      (c, c), float64 for float64 features, else float32.

    Examples:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.objective.losses import gram_matrix
      >>> gram_matrix(jnp.ones((4, 6, 2))).tolist()
      [[1.0, 1.0], [1.0, 1.0]]
    """
    check_shape("features", features, ("h", "w", "c"))
    if mask is None:
        return _products(features) / (features.shape[0] * features.shape[1])
    check_shape("mask", mask, ("h", "w"))
    mask = mask.astype(wide(features.dtype))
    return _products(widen(features) * mask[..., None]) / mask_area(mask)


def mask_area(mask: Float[Array, "h w"]) -> Float[Array, ""]:
    """Sum the squares of a mask.

    Args:
      mask: (h, w).

    Returns:
      A scalar > 0. For a mask of zeros it is a tiny number, so that 0 divided by it is 0.
    """
    return jnp.maximum(jnp.square(mask).sum(), _EPSILON)


@jax.custom_jvp
def _products(f: jax.Array) -> jax.Array:
    return lax.platform_dependent(f, cuda=_square_in_parts, default=lambda f: _sum_products(f, f, wide(f.dtype)))


@_products.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (f,), (t,) = primals, tangents
    product = _products(f)
    # Its transpose, which is the backward pass, is f times a symmetric matrix; autodiff of f'f would make two products
    # and add them. For bfloat16 features that product is computed in bfloat16 too, which has the range of float32.
    half = _sum_products(f, t, f.dtype if f.dtype == jnp.bfloat16 else product.dtype).astype(product.dtype)
    return product, half + half.T


def _sum_products(f: jax.Array, g: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """Compute f'g, summed over positions: (h, w, c) -> (c, c)."""
    plain = partial(_multiply, dtype=dtype)
    if f.dtype != jnp.bfloat16 or 2 * f.shape[-1] != _TPU_WIDTH or f.size % _TPU_WIDTH:
        return plain(f, g)

    def of_pairs(f: jax.Array, g: jax.Array) -> jax.Array:
        c = f.shape[-1]
        both = plain(f.reshape(-1, 2 * c), g.reshape(-1, 2 * c))
        return both[:c, :c] + both[c:, c:]

    # A TPU computes as many channels at once, and pads fewer; the network's first block has pairs of pixels already.
    return lax.platform_dependent(f, g, tpu=of_pairs, default=plain)


def _square_in_parts(f: jax.Array) -> jax.Array:
    """Compute f'f as the sum of products of parts, since a GPU gives one product of few channels to few of its cores.

    On an H200, Gram matrices of five lanes of 160 px in float32 took 1.4 ms a step without it.
    """
    h, w, channels = f.shape
    part = max((n for n in range(1, min(_GPU_PART, h * w) + 1) if h * w % n == 0), default=1)
    flat = f.reshape(h * w, channels)
    if part < min(_GPU_PART // 4, h * w):
        part = _GPU_PART
        flat = jnp.pad(flat, ((0, -h * w % part), (0, 0)))
    parts = flat.reshape(-1, part, channels)
    return _contract(parts, parts, ((1,), (1,)), ((0,), (0,)), wide(f.dtype)).sum(0)


def _multiply(f: jax.Array, g: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    # They are transposed first: XLA on CPU takes 1.1 to 2.9 times as long for a product along the first axis of both.
    left, right = (x.reshape(-1, x.shape[-1]).T for x in (f, g))
    return _contract(left, right, ((1,), (1,)), ((), ()), dtype)


def _contract(left: jax.Array, right: jax.Array, contracted: Any, batch: Any, dtype: jax.typing.DTypeLike) -> jax.Array:
    # By default, TPUs and recent GPUs round float32 operands to fewer bits.
    return lax.dot_general(
        left, right, (contracted, batch), precision=lax.Precision.HIGHEST, preferred_element_type=dtype
    )


@partial(jax.jit, static_argnames="convention")
def feature_loss(
    features: Float[Array, "h w c"], target: Float[Array, "h w c"], *, convention: str = "mean"
) -> Float[Array, ""]:
    """Compute the content loss of one layer (Gatys et al., arXiv 1508.06576); see `CONVENTIONS`.

    Args:
      features: (h, w, c) the image's features.
      target: (h, w, c) the content image's features.
      convention: one of `CONVENTIONS`.

    Returns:
      A scalar >= 0.

    Raises:
      ValueError: for an unknown convention, or shapes that differ.

    Examples:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.objective.losses import feature_loss
      >>> features, target = jnp.full((4, 6, 2), 3.0), jnp.ones((4, 6, 2))
      >>> {name: float(feature_loss(features, target, convention=name)) for name in ("mean", "gatys")}
      {'mean': 4.0, 'gatys': 96.0}
    """
    check_convention(convention)
    check_shape("features", features, ("h", "w", "c"))
    if features.shape != target.shape:
        raise ValueError(f"features have shape {features.shape}, the content target has {target.shape}")
    features, target = promoted(widen(features), widen(target))
    squares = jnp.square(features - target)
    if convention == "gatys":
        return squares.sum() / 2
    if convention == "relative":
        return squares.mean() / (jnp.square(target).mean() + _EPSILON)
    return squares.mean()


@partial(jax.jit, static_argnames="convention")
def gram_loss(gram: Float[Array, "c c"], target: Float[Array, "c c"], *, convention: str = "mean") -> Float[Array, ""]:
    """Compute the style loss of one layer (Gatys et al., arXiv 1508.06576); see `CONVENTIONS`.

    Args:
      gram: (c, c) the image's Gram matrix, from `gram_matrix`.
      target: (c, c) the style image's Gram matrix, from `gram_matrix` for every convention.
      convention: one of `CONVENTIONS`.

    Returns:
      A scalar >= 0.

    Raises:
      ValueError: for an unknown convention, or shapes that differ.

    Examples:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.objective.losses import gram_loss, gram_matrix
      >>> found, target = gram_matrix(jnp.full((4, 6, 2), 2.0)), gram_matrix(jnp.ones((8, 8, 2)))
      >>> float(gram_loss(found, target))
      9.0
    """
    check_convention(convention)
    check_shape("gram", gram, ("c", "c"))
    if gram.shape != target.shape:
        raise ValueError(f"gram has shape {gram.shape}, the style target has {target.shape}")
    gram, target = promoted(gram, target)
    loss = jnp.square(gram - target).mean()
    if convention == "gatys":
        return loss / 4
    if convention == "johnson":
        return loss / gram.shape[-1] ** 2
    if convention == "relative":
        return loss / (jnp.square(target).mean() + _EPSILON)
    return loss


@jax.jit
def total_variation(image: Float[Array, "h w channels"]) -> Float[Array, ""]:
    """Add the mean squared difference of horizontal neighbours and that of vertical neighbours.

    This is the anisotropic, quadratic form of Mahendran and Vedaldi (arXiv 1412.0035, beta = 2). It is a mean, so it
    doesn't grow with the image. For a checkerboard of single pixels of 0 and 1 it is 2, and for a constant image 0.

    Args:
      image: (h, w, channels), at least 2x2.

    Returns:
      A scalar >= 0.

    Examples:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.objective.losses import total_variation
      >>> board = jnp.indices((4, 6)).sum(0) % 2
      >>> float(total_variation(board[..., None].astype(float)))
      2.0
    """
    check_shape("image", image, ("h", "w", "channels"))
    image = widen(image)
    return jnp.square(jnp.diff(image, axis=0)).mean() + jnp.square(jnp.diff(image, axis=1)).mean()
