from dataclasses import replace

from jaxstyle.app.commands.options import _read_preset
from jaxstyle.app.settings.settings import Settings, from_options
from jaxstyle.app.settings.stages import plan_stages

PLAIN = Settings(content="c.png", style="s.png", steps=50)


def stages(shape, least=32, **options):
    return [(*stage.shape, stage.steps) for stage in plan_stages(replace(PLAIN, **options), shape, least)]


def test_one_size_where_the_first_is_the_last():
    assert stages((512, 300), min_size=None) == [(512, 300, 50)]
    assert stages((512, 300), min_size=512) == stages((512, 300), min_size=900) == [(512, 300, 50)]


def test_sizes_double_from_min_size_on():
    assert stages((256, 512), min_size=128) == [(64, 128, 30), (128, 256, 30), (256, 512, 50)]
    assert stages((256, 512), min_size=128, coarse_steps=7) == [(64, 128, 7), (128, 256, 7), (256, 512, 50)]
    assert stages((256, 512))[0] == (32, 64, 30)  # not 30, which the layers don't take
    assert stages((256, 512), least=16)[0] == (30, 60, 30)


def test_programs_of_one_size():
    names = ("gatys", "johnson", "tutorial", "gram-mean", "crowson")
    found = [from_options(_read_preset({"preset": name})) for name in names]
    assert [len(stages((256, 256), **options)) for options in found] == [1, 1, 1, 1, 2]
