from dataclasses import replace

import pytest

from jaxstyle.app.options import _of_preset
from jaxstyle.app.settings import Settings
from jaxstyle.app.stages import plan_stages

PLAIN = Settings(content="c.png", style="s.png", steps=50)


def stages(shape, **options):
    return [(*stage.shape, stage.steps) for stage in plan_stages(replace(PLAIN, **options), shape)]


def test_there_is_one_size_unless_asked_for():
    assert stages((512, 300)) == [(512, 300, 50)]
    assert stages((512, 300), coarse_steps=7) == [(512, 300, 50)]
    assert stages((512, 300), min_size=512) == [(512, 300, 50)]


@pytest.mark.parametrize("min_size", [128, 100, 70])
def test_sizes_double_from_min_size_on(min_size):
    assert stages((256, 512), min_size=min_size) == [(64, 128, 50), (128, 256, 50), (256, 512, 50)]
    assert stages((256, 512), min_size=min_size, coarse_steps=7) == [(64, 128, 7), (128, 256, 7), (256, 512, 50)]


def test_only_crowsons_program_has_more_than_one_size():
    names = ("gatys", "johnson", "tutorial", "crowson")
    assert [len(stages((256, 256), **_of_preset({"preset": name}))) for name in names] == [1, 1, 1, 2]
