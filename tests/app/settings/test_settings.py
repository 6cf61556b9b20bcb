"""What a job is asked: shared settings and lane settings, as options of the command and as run.json holds them."""

import json

import pytest

from jaxstyle.app import cli
from jaxstyle.app.commands.options import read_settings
from jaxstyle.app.report.axes import transfer_command
from jaxstyle.app.run_folder.recorded_job import recorded_settings
from jaxstyle.app.run_folder.stored_run import Lane
from jaxstyle.app.settings.lane_settings import LANE_SETTINGS, LaneSetting
from jaxstyle.app.settings.settings import Settings, to_options
from jaxstyle.app.settings.values import parse_weight


def settings_of(command):
    return read_settings(cli._make_parser().parse_args(command.split()))


@pytest.fixture
def histogram(monkeypatch):
    entry = LaneSetting(parse_weight, "weight of a histogram", default=(2.0,), default_text="2", scales=True)
    monkeypatch.setitem(LANE_SETTINGS, "histogram_weight", entry)


def test_an_entry_of_the_registry_is_an_option_everywhere(histogram, capsys):
    assert settings_of("sweep c s").lanes["histogram_weight"] == (2,)
    found = settings_of("sweep c s --histogram-weight 1:100:3 7")
    assert found.lanes["histogram_weight"] == (1, 10, 100, 7)
    assert settings_of("transfer c s -o x.png --histogram-weight 3").lanes["histogram_weight"] == (3,)
    record = json.loads(json.dumps({"options": to_options(found)}))
    assert record["options"]["histogram_weight"] == [1, 10, 100, 7]
    assert recorded_settings(record) == found
    record["inputs"] = {"content": [{"source": "c"}], "style": [{"source": "s"}]}
    command = transfer_command(record, Lane(0, settings={"histogram_weight": "10"}))
    assert command.startswith("jaxstyle transfer c s --histogram-weight 10 --size 160 --style-layers ")
    assert command.endswith(" --style-loss wasserstein+nearest -o lane_0000.png")
    with pytest.raises(SystemExit):
        cli._make_parser().parse_args(["sweep", "--help"])
    assert "weight of a histogram (default: 2)" in " ".join(capsys.readouterr().out.split())


def test_options_hold_every_setting_once():
    settings = Settings("c.png", "s.png", size=99, lanes={"beta": (1.0, 3.0)})
    options = to_options(settings)
    assert (options["content"], options["size"], options["beta"]) == ("c.png", 99, (1, 3))
    assert (options["alpha"], options["seed"], options["tv"], options["style_mix"]) == ((1,), (0,), None, None)
    assert recorded_settings({"options": json.loads(json.dumps(options))}) == settings
