"""Content, Gram and total-variation losses, in the named conventions of the field.

Features are channels-last, shape (h, w, c), of one image: vmap for more. Every loss is at least float32,
whatever the features' dtype, and float64 for float64 features.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.common.checks import check_shape
from jaxstyle.common.dtypes import promoted, wide, widen

CONVENTIONS: tuple[str, ...] = ("mean", "gatys", "johnson", "relative")
r"""Scalings of the two losses. With features F, content P, Gram matrices G and A, each F'F / N with N = h w:

| name     | content term of a layer         | style term of a layer           |
|----------|---------------------------------|---------------------------------|
| mean     | `mean((F - P)^2)`               | `mean((G - A)^2)`               |
| gatys    | `1/2 sum((F - P)^2)`            | `1/4 mean((G - A)^2)`           |
| johnson  | `mean((F - P)^2)`               | `mean((G - A)^2) / c^2`         |
| relative | `mean((F - P)^2) / mean(P^2)`   | `mean((G - A)^2) / mean(A^2)`   |

gatys: arXiv 1508.06576, whose 1 / (4 c^2 N^2) of Gram matrices F'F is this, for a style image of the content's size.
johnson: jcjohnson/neural-style, whose Gram matrix is F'F / (N c).
"""

_EPSILON = 1e-12


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
    r"""Gram matrix of a layer's features F, over their $N = h w$ positions (Gatys et al., arXiv 1505.07376).

    $$G_{ij} = \frac{1}{N} \sum_{k=1}^N F_{ki} F_{kj}$$

    With a soft mask T it is that of T F over the sum of T^2, the guided Gram matrix of Gatys et al. (arXiv 1611.07865,
    section 4); of a mask of zeros it is 0.

    Products are summed in float32 at full precision, on every backend; those of bfloat16 features are exact (but with
    a mask). The gradient has the features' dtype, and is one matrix product.

    Args:
      features: (h, w, c).
      mask: (h, w) in [0, 1]; None: all positions count alike.

    Returns:
      (c, c), at least float32.

    Example:
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
    """Sum of T^2 of a mask T.

    Args:
      mask: (h, w).

    Returns:
      A scalar > 0: of a mask of zeros a tiny number, so that 0 divided by it is 0.
    """
    return jnp.maximum(jnp.square(mask).sum(), _EPSILON)


@jax.custom_jvp
def _products(f: jax.Array) -> jax.Array:
    return _sum_products(f, f, wide(f.dtype))


@_products.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (f,), (t,) = primals, tangents
    product = _products(f)
    # Its transpose, the backward pass, is f times a symmetric matrix; autodiff of f'f makes two products and their sum.
    # In bfloat16, so is that product: its range is float32's.
    half = _sum_products(f, t, f.dtype if f.dtype == jnp.bfloat16 else product.dtype).astype(product.dtype)
    return product, half + half.T


def _sum_products(f: jax.Array, g: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    # Transposed first: XLA on CPU takes 1.1 to 2.9 times as long for a product along the first axis of both.
    rows, columns = (x.reshape(-1, x.shape[-1]).T for x in (f, g))
    # The default precision of TPUs and recent GPUs would round float32 operands to fewer bits.
    return lax.dot_general(
        rows, columns, (((1,), (1,)), ((), ())), precision=lax.Precision.HIGHEST, preferred_element_type=dtype
    )


@partial(jax.jit, static_argnames="convention")
def feature_loss(
    features: Float[Array, "h w c"], target: Float[Array, "h w c"], *, convention: str = "mean"
) -> Float[Array, ""]:
    """Content loss of one layer (Gatys et al., arXiv 1508.06576); see `CONVENTIONS`.

    Args:
      features: (h, w, c) of the image.
      target: (h, w, c) of the content image.
      convention: one of `CONVENTIONS`.

    Returns:
      A scalar >= 0.

    Raises:
      ValueError: for an unknown convention, or shapes that differ.

    Example:
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
    """Style loss of one layer (Gatys et al., arXiv 1508.06576); see `CONVENTIONS`.

    Args:
      gram: (c, c) of the image, from `gram_matrix`.
      target: (c, c) of the style image, from `gram_matrix`, whatever the convention.
      convention: one of `CONVENTIONS`.

    Returns:
      A scalar >= 0.

    Raises:
      ValueError: for an unknown convention, or shapes that differ.

    Example:
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
    """Mean squared difference of horizontal neighbours plus that of vertical ones.

    The anisotropic, quadratic form of Mahendran and Vedaldi (arXiv 1412.0035, beta = 2), as a mean so that
    it doesn't grow with the image. A one-pixel checkerboard of 0 and 1 has 2, a constant image 0.

    Args:
      image: (h, w, channels), at least 2x2.

    Returns:
      A scalar >= 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.objective.losses import total_variation
      >>> board = jnp.indices((4, 6)).sum(0) % 2
      >>> float(total_variation(board[..., None].astype(float)))
      2.0
    """
    check_shape("image", image, ("h", "w", "channels"))
    image = widen(image)
    return jnp.square(jnp.diff(image, axis=0)).mean() + jnp.square(jnp.diff(image, axis=1)).mean()
