import re
from pathlib import Path

import pytest

import jaxstyle as js
from jaxstyle.objective.losses import CONVENTIONS
from jaxstyle.objective.weight_defaults import WEIGHT_DEFAULTS

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.slow
def test_example_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 15
    assert code.count(", 96)") == 2
    scope = {}
    exec(code.replace(", 96)", ", 48)"), scope)  # a quarter of the work
    result = scope["result"]
    assert result.images.shape == (4, 32, 48, 3)
    first, last = result.losses.style[:, 0], result.losses.style[:, -1]
    assert (last < first).all()
    assert last[3] < last[2] < last[1] < last[0]  # the larger beta, the closer to the style


def test_names_every_convention_and_its_defaults():
    assert set(WEIGHT_DEFAULTS) == set(CONVENTIONS)
    for convention in CONVENTIONS:
        assert f"`{convention}`" in README


def test_every_public_name_in_the_readme_exists():
    for name in re.findall(r"\bjs\.(\w+)", README):
        assert name in dir(js)
