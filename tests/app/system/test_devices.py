from types import SimpleNamespace

import jax
import pytest

from jaxstyle.app.system.devices import fast_dtype


@pytest.mark.parametrize(
    ("platform", "capability", "wanted"),
    [
        ("tpu", None, "bfloat16"),
        ("gpu", "9.0", "bfloat16"),
        ("gpu", "8.0", "bfloat16"),
        ("gpu", "7.5", "float32"),
        ("gpu", "12.0", "bfloat16"),
        ("gpu", "gfx942", "float32"),
    ],
)
def test_bfloat16_is_for_devices_that_have_it(platform, capability, wanted):
    assert fast_dtype(SimpleNamespace(platform=platform, compute_capability=capability or 0)) == wanted


def test_a_cpu_computes_in_float32():
    assert fast_dtype(jax.devices("cpu")[0]) == "float32"
