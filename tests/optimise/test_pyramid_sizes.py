from itertools import pairwise

import numpy as np
import pytest

from jaxstyle.optimise.pyramid_sizes import scales, steps_of


@pytest.mark.parametrize(
    ("shape", "options", "wanted"),
    [
        ((256, 256), {"smallest": 64}, ((64, 64), (128, 128), (256, 256))),
        ((192, 256, 3), {"smallest": 64}, ((48, 64), (96, 128), (192, 256))),
        ((192, 256, 3), {"smallest": 50}, ((38, 50), (85, 113), (192, 256))),  # not 42.7, 85.3, or 50 to 100 to 200
        ((1024, 768), {"smallest": 64}, ((64, 48), (128, 96), (256, 192), (512, 384), (1024, 768))),
        ((100, 90), {"smallest": 71, "factor": 2**0.5}, ((71, 64), (100, 90))),
        ((256, 64), {"smallest": 64}, ((128, 32), (256, 64))),  # 32 on the shorter side
        ((256, 64), {"smallest": 64, "least": 16}, ((64, 16), (128, 32), (256, 64))),
        ((20, 500), {}, ((20, 500),)),  # smaller than the network takes: its own business
        ((80, 80), {"smallest": 80}, ((80, 80),)),
        ((80, 80), {"smallest": 800}, ((80, 80),)),
        ((64, 64), {}, ((64, 64),)),
    ],
)
def test_scales(shape, options, wanted):
    assert scales(shape, **options) == wanted


@pytest.mark.parametrize("shape", [(107, 160), (171, 256), (683, 1024), (1, 700), (3, 3), (300, 90)])
@pytest.mark.parametrize("options", [{}, {"smallest": 1, "least": 1, "factor": 1.1}, {"smallest": 40, "least": 2}])
def test_sizes_rise_to_the_shape(shape, options):
    found = scales(shape, **options)
    assert found[-1] == shape
    assert all(a[0] <= b[0] and a[1] <= b[1] and a != b for a, b in pairwise(found))
    assert all(isinstance(side, int) and side > 0 for size in found for side in size)
    assert min(found[0]) >= min(options.get("least", 32), *shape)


def test_every_size_begins_alike():
    assert {scales((side * 3 // 4, side))[0] for side in (160, 256, 512, 1024)} == {(45, 60)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smallest": 0}, "smallest"),
        ({"least": 0}, "least"),
        ({"factor": 1}, "factor"),
        ({"factor": np.nan}, "factor"),
    ],
)
def test_scales_checks(options, message):
    with pytest.raises(ValueError, match=f"{message} must be"):
        scales((64, 64), **options)


def test_steps_of():
    assert steps_of([(1, 1), (2, 2), (4, 4)], steps=5, coarse_steps=7) == (7, 7, 5)
    assert steps_of([(4, 4)], steps=5, coarse_steps=7) == (5,)
