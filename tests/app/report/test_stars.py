"""Starred lanes of a report: what is copied makes the same lanes again."""

import shlex

import pytest

from jaxstyle.app.cli import _parse
from jaxstyle.app.commands.options import read_settings
from jaxstyle.app.execution.job import load_job
from jaxstyle.app.report.axes import grid_table
from jaxstyle.app.report.page import write_report
from jaxstyle.app.run_folder.stored_run import Lane
from jaxstyle.app.settings.grid_files import read_grid
from tests.app.report.browsers import open_browser, until
from tests.run_folders import make_run


@pytest.fixture(scope="module")
def chromium():
    with open_browser() as browser:
        yield browser


@pytest.fixture
def show(chromium):
    contexts = []

    def show(folder):
        context = chromium.new_context(viewport={"width": 1400, "height": 900})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        page.goto(write_report(folder).as_uri())
        return page

    yield show
    for context in contexts:
        context.close()


def star(page, *lanes):
    for lane in lanes:
        page.locator(f"#lane-{lane}").click()
        page.locator("#star").click()


def copied(page, what):
    page.locator(f"[data-copy={what}]").click()
    until(page, f"document.querySelector('[data-copy={what}]').textContent === 'Copied'")
    return page.evaluate("navigator.clipboard.readText()")


def lanes_of(command, folder, monkeypatch):
    """The lanes that a command makes, of the images whose names run.json holds."""
    monkeypatch.chdir(folder)
    words = shlex.split(command)
    assert words[:2] == ["jaxstyle", "sweep"]
    return load_job(read_settings(_parse(words[1:]))).lanes


def expected(*values):
    names = ("alpha", "beta", "tv", "seed")
    return [dict(zip(names, lane, strict=True)) for lane in values]


def settings(lanes):
    return [{name: lane[name] for name in ("alpha", "beta", "tv", "seed")} for lane in lanes]


@pytest.mark.slow
def test_what_is_copied_is_read_back(show, tmp_path, monkeypatch):
    page = show(make_run(tmp_path / "run", tvs=(1, 30)))
    assert page.locator("#starred").is_hidden()
    star(page, 1, 3)  # beta 0.1 and 10 at tv 1: all combinations
    wanted = expected((1, 0.1, 1, 0), (1, 10, 1, 0))
    (tmp_path / "picked.toml").write_text(copied(page, "grid"))
    assert read_grid(tmp_path / "picked.toml") == wanted
    command = copied(page, "sweep")
    assert "--beta 0.1 10 " in command
    assert page.locator("#needs").is_hidden()
    assert settings(lanes_of(command, tmp_path, monkeypatch)) == wanted
    star(page, 9)  # beta 100 at tv 30: no product
    wanted += expected((1, 100, 30, 0))
    (tmp_path / "picked.toml").write_text(copied(page, "grid"))
    assert read_grid(tmp_path / "picked.toml") == wanted
    command = copied(page, "sweep")
    assert "--grid picked.toml " in command
    assert page.locator("#needs").is_visible()
    assert settings(lanes_of(command, tmp_path, monkeypatch)) == wanted


def test_stars_stay_and_go(show, tmp_path):
    page = show(make_run(tmp_path / "run", betas=(1, 2, 3)))
    star(page, 0, 2)
    page.reload()
    assert page.locator(".card.starred").evaluate_all("cards => cards.map(card => card.id)") == ["lane-0", "lane-2"]
    assert page.locator("#stars a").all_inner_texts() == ["lane 0: beta 1", "lane 2: beta 3"]
    page.locator("#lane-2").click()
    page.keyboard.press("p")
    assert page.locator("#star").get_attribute("aria-pressed") == "false"
    assert page.locator("#stars a").count() == 1
    page.locator("#unstar").click()
    assert page.locator("#starred").is_hidden()
    page.reload()
    assert page.locator(".card.starred").count() == 0


def test_lanes_of_several_pairs_share_a_command(show, tmp_path):
    page = show(make_run(tmp_path / "run", betas=(1, 2), contents=("cat", "coffee")))
    star(page, 0, 2)  # beta 1 of both pairs
    words = shlex.split(page.locator("#sweep").inner_text())
    assert words[2:4] == ["sample:cat", "sample:swirls"]
    at = words.index("--beta")
    assert (words[at + 1], words[at + 2][:2]) == ("1", "--")
    assert page.locator("#grid").inner_text().count("[[lane]]") == 1
    page.locator("#unstar").click()
    star(page, 3)
    assert shlex.split(page.locator("#sweep").inner_text())[2:4] == ["coffee.jpg", "sample:swirls"]


def test_grids_hold_every_kind_of_setting(tmp_path):
    written = {
        "alpha": "1",
        "beta": "1e-05",
        "tv": "1e+06",
        "learning_rate": "0.03",
        "seed": "7",
        "style_layer_weights": "1,0.5,0",
        "content_layer_weights": "1",
        "style_mix": "0.3,0.7",
        "style_scale": "0.5",
    }
    (tmp_path / "picked.toml").write_text(grid_table(Lane(0, settings=written)))
    (lane,) = read_grid(tmp_path / "picked.toml")
    numbers = {"alpha": 1, "beta": 1e-5, "tv": 1e6, "learning_rate": 0.03, "seed": 7, "style_scale": 0.5}
    lists = {"style_layer_weights": (1, 0.5, 0), "content_layer_weights": (1,), "style_mix": (0.3, 0.7)}
    assert lane == numbers | lists
    assert grid_table(Lane(0)) is None
    assert grid_table(Lane(0, settings={"new": "1"})) is None
