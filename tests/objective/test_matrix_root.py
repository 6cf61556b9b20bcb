import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstyle.objective.statistics.matrix_root import SMALLEST, matrix_root, root_trace
from tests.conftest import relative_error


def matrix(n, smallest, seed=0):
    """Symmetric, with eigenvalues from `smallest` to 1 in even ratios."""
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]
    values = np.geomspace(smallest, 1, n)
    return (q * values) @ q.T, (q * np.sqrt(values)) @ q.T, (q / np.sqrt(values)) @ q.T


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("smallest", [3e-6, 0.1, 1])
def test_roots_and_gradient_in_float64(smallest):
    k, root, inverse = matrix(12, smallest)
    for scale in (1e-9, 7.0):
        np.testing.assert_allclose(matrix_root(jnp.asarray(scale * k)), scale**0.5 * root, atol=1e-9 * scale**0.5)
        value, gradient = jax.value_and_grad(root_trace)(jnp.asarray(scale * k))
        assert float(value) == pytest.approx(scale**0.5 * np.trace(root), rel=1e-9)
        assert relative_error(gradient, inverse / 2 / scale**0.5) < 1e-7


@pytest.mark.parametrize("n", [5, 48])
def test_float32_down_to_its_smallest_eigenvalue(n):
    k, root, inverse = matrix(n, SMALLEST * 2)
    value, gradient = jax.jit(jax.value_and_grad(root_trace))(jnp.asarray(k, jnp.float32))
    assert float(value) == pytest.approx(np.trace(root), rel=1e-5)
    assert relative_error(gradient, inverse / 2) < 0.02  # float32 itself knows K no better
    assert relative_error(np.asarray(gradient, np.float64) @ k, root / 2) < 1e-3


@pytest.mark.usefixtures("x64")
def test_both_modes_and_second_order():
    k, t = (jnp.asarray(matrix(6, 0.01, seed)[0]) for seed in (1, 2))

    def exact(k):
        return jnp.sqrt(jnp.linalg.eigvalsh(k)).sum()

    found, wanted = (jax.jvp(f, (k,), (t,)) for f in (root_trace, exact))
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    second = [jax.jvp(lambda k, f=f: jnp.vdot(jax.grad(f)(k), t), (k,), (t,))[1] for f in (root_trace, exact)]
    np.testing.assert_allclose(*second, rtol=1e-7)
    ks = jnp.stack([k, t, k + t])
    np.testing.assert_allclose(jax.vmap(root_trace)(ks), [root_trace(k) for k in ks], rtol=1e-12)
