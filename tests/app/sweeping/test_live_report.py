"""The report of a run that goes on, also in a real browser; and --open."""

import contextlib
import os
import re
import stat
import subprocess
import sys
import threading
import time
import webbrowser
from types import SimpleNamespace

import numpy as np
import pytest

from jaxstyle.app.cli import call
from jaxstyle.app.report.page import write_report
from jaxstyle.app.sweeping import live_report
from jaxstyle.app.system import browser as system_browser
from jaxstyle.app.system.errors import WriteError
from tests.app.report.browsers import open_browser, until
from tests.command import QUICKEST, fails
from tests.processes import environment
from tests.run_folders import make_run

SWEEP = ["sweep", "c.png", "s.png", *QUICKEST[:-1], "12", "--beta", "0.1", "1", "10", "--quiet", "--out", "run"]
PICTURE = re.compile(rb'<a class="card[^>]*>\s*<img src="(data:image/jpeg;base64,[^"]+)"')


def read_page(folder):
    """Read the page, which a thread may still be writing for the first time."""
    file = folder / "run" / "report.html"
    for _ in range(200):
        if file.exists():
            return file.read_bytes()
        time.sleep(0.05)
    pytest.fail("there is no page")


@pytest.fixture
def at_once(monkeypatch):
    """Let a page be due after every chunk."""
    monkeypatch.setattr(live_report, "_EVERY", 0.0)
    monkeypatch.setattr(live_report, "_SHARE", 1e9)


def test_the_page_is_there_from_the_start_and_shows_how_pictures_come(images, at_once):
    seen = []
    call(SWEEP, on_chunk=lambda _: seen.append(read_page(images)))
    assert len(seen) >= 3
    assert b"It is being compiled." in seen[0]
    assert seen[0].count(b"data:image/jpeg") >= 2  # content and style
    assert not PICTURE.search(seen[0])
    steps = [re.search(rb"Step (\d+) of 12\.", page) for page in seen]
    numbers = [int(found[1]) for found in steps if found]
    assert numbers
    assert numbers == sorted(numbers)
    pictures = [tuple(PICTURE.findall(page)) for page in seen if PICTURE.search(page)]
    assert {len(some) for some in pictures} == {3}
    assert len(set(pictures)) == len(set(numbers))  # each page has other pictures
    for page in seen:
        assert b'id="following"' in page
        assert b'http-equiv="refresh"' in page
        assert b"<td>unfinished</td>" in page or page is seen[0]
    last = (images / "run" / "report.html").read_bytes()
    for word in (b'id="following"', b'id="schedule"', b'http-equiv="refresh"', b"image/jpeg"):
        assert word not in last
    assert write_report(images / "run").read_bytes() == last
    assert not [file for file in (images / "run").iterdir() if "tmp" in file.name]


def test_losses_stand_beside_the_pictures(images, at_once):
    seen = []

    def look(chunk):
        time.sleep(0.3)  # for the page to be written
        seen.append((chunk.losses.style, read_page(images).decode()))

    call(SWEEP, on_chunk=look)
    # The page that a chunk finds shows the losses of a chunk before it.
    rows = re.findall(r"<tr data-index.*?</tr>", seen[-1][1])
    assert len(rows) == 3
    assert any(all(f"<td>{loss:.4g}</td>" in row for row, loss in zip(rows, losses, strict=True)) for losses, _ in seen)


def test_a_page_of_a_run_that_was_stopped_says_so_and_keeps_its_pictures(images, at_once):
    def stop(chunk):
        if chunk.steps_done > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(SWEEP, on_chunk=stop)
    page = (images / "run" / "report.html").read_bytes()
    assert b'id="unfinished"' in page
    assert b"jaxstyle resume run" in page
    assert b'id="following"' not in page
    assert len(PICTURE.findall(page)) == 3
    call(["resume", "run", "--quiet"])
    assert b'id="unfinished"' not in (images / "run" / "report.html").read_bytes()


def test_all_lanes_stay_on_the_page_while_more_are_added(images, at_once):
    seen = []
    call([*SWEEP, "--refine", "2"], on_chunk=lambda _: seen.append(read_page(images)))
    assert len(PICTURE.findall(seen[-1])) == 5
    assert b"5 lanes" in seen[-1]


@pytest.mark.parametrize("colour", ["style", "content"])
def test_pictures_of_coarser_sizes_are_finished_as_the_last_ones_are(images, at_once, colour):
    coarse = ["--min-size", "20", "--coarse-steps", "3", "--save-every", "2", "--colour", colour]
    seen = []
    call([*SWEEP, *coarse], on_chunk=lambda _: seen.append(read_page(images)))
    assert PICTURE.search(seen[2])
    assert list((images / "run" / "images" / "lane_0000").glob("*.png"))


def test_a_page_that_cannot_be_written_stops_nothing(images, at_once, monkeypatch, capsys):
    def fail(*_, **__):
        raise WriteError("the disk is full")

    monkeypatch.setattr(live_report, "write_page", fail)
    call(SWEEP)
    assert "disk" not in capsys.readouterr().err
    assert (images / "run" / "report.html").exists()


def test_a_page_that_goes_wrong_costs_a_line(images, at_once, monkeypatch, capsys):
    monkeypatch.setattr(live_report, "_shrink", lambda *_: 1 / 0)
    call(SWEEP)
    line = "run/report.html is not kept up to date: ZeroDivisionError: division by zero"
    assert capsys.readouterr().err.count(line) == 1
    assert (images / "run" / "report.html").exists()


def test_what_a_killed_process_left_of_a_page_is_removed(tmp_path):
    half = tmp_path / ".report.html.0badcafe.jaxstyle-tmp"
    half.write_bytes(b"half a pa")
    with live_report.live_report(tmp_path, {}, opened=False):
        pass
    assert not half.exists()


def test_pages_take_their_share_of_the_time_and_no_more(tmp_path, monkeypatch):
    now, spent = [100.0], iter([0.0, 0.02, 0.0, 1.0])
    clock = SimpleNamespace(time=lambda: 0.0, monotonic=lambda: now[0], thread_time=lambda: next(spent))
    monkeypatch.setattr(live_report, "time", clock)
    monkeypatch.setattr(live_report, "write_page", lambda *_, **__: None)
    picture = SimpleNamespace(image=np.zeros((8, 8, 3), np.float32))
    pictures = SimpleNamespace(by_kind=lambda: {"content": [picture], "style": [picture]})
    lane = {"content": 0, "style": 0, "beta": 1.0}
    job = SimpleNamespace(lanes=[lane], pictures=pictures, settings=SimpleNamespace(colour="style"))
    with live_report.live_report(tmp_path, {}, opened=False) as report:
        report.begin(job)
        report.rest()
        assert report.viewer.due()
        for seconds in (0.02 / 0.002, 1 / 0.002):
            report.viewer.show(1, 2, [0], np.zeros((1, 8, 8, 3)), [np.zeros((1, 1))] * 4)
            report.rest()
            began = now[0]
            now[0] = began + 0.99 * seconds
            assert not report.viewer.due()
            now[0] = began + 1.01 * seconds
            assert report.viewer.due()


def test_losses_of_lanes_that_have_stopped_are_the_last_they_had():
    losses = np.array([[1.0, np.nan, 3.0], [2.0, np.nan, np.nan], [np.inf, np.nan, np.nan]])
    np.testing.assert_array_equal(live_report._last_finite(losses), [2.0, np.nan, 3.0])


@pytest.fixture(scope="module")
def chromium():
    with open_browser() as browser:
        yield browser


@contextlib.contextmanager
def running(arguments, trouble):
    """A run in a thread of its own; gives a semaphore that lets it come to the end of one chunk more."""
    chunks = threading.Semaphore(0)

    def run():
        try:
            call(arguments, on_chunk=lambda _: chunks.acquire(timeout=60))
        except BaseException as error:
            trouble.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield chunks
    finally:
        chunks.release(1000)
        thread.join()


def test_a_browser_follows_a_run_and_keeps_its_place(images, at_once, monkeypatch, chromium):
    monkeypatch.setattr(live_report, "_EVERY", 0.3)
    page, trouble = chromium.new_page(), []
    page.on("pageerror", lambda error: trouble.append(error))
    source, slider = "document.getElementById('picture').src", page.locator("input[aria-label='beta']")
    with running([*SWEEP, "--save-every", "1"], trouble) as chunks:
        read_page(images)
        page.goto((images / "run" / "report.html").as_uri())
        assert "compiled" in page.locator("#following").inner_text()
        assert page.get_by_role("img", name="Content image c").is_visible()
        chunks.release()
        until(page, "document.getElementById('name').textContent === 'Lane 0'")
        slider.fill("2")
        page.keyboard.press("p")
        slider.focus()
        seen = [page.evaluate(source)]
        for _ in range(3):
            chunks.release(2)
            until(page, f"{source}.startsWith('data:image/jpeg') && {source} !== {seen[-1]!r}")
            until(page, "document.activeElement.dataset.axis === '0'")
            seen.append(page.evaluate(source))
            assert (page.locator("#name").inner_text(), slider.input_value()) == ("Lane 2", "2")
            assert page.locator("#star").get_attribute("aria-pressed") == "true"
        page.locator("[data-view=style]").click()
        page.locator("#follow").click()
        stays = page.locator("#following").inner_text()
        chunks.release(2)
        page.wait_for_timeout(2500)
        assert page.locator("#following").inner_text() == stays
        assert page.locator("#follow").inner_text() == "Go on"
        page.locator("#follow").click()
    until(page, "!document.getElementById('following')")  # the run has ended, and this is the last page
    until(page, f"{source}.endsWith('style_0000.png')")  # still what was looked at
    assert page.locator("#name").inner_text() == "Lane 2"
    assert page.locator(".card.starred").count() == 1
    page.keyboard.press("s")
    until(page, f"{source}.endsWith('lane_0002.png')")
    page.evaluate("window.marked = 1")
    page.wait_for_timeout(2500)
    assert page.evaluate("window.marked") == 1  # the last page is still
    page.close()
    assert not trouble


def test_a_page_whose_run_was_killed_comes_to_rest(images, at_once, chromium):
    seen = []
    call(SWEEP, on_chunk=lambda _: seen.append(read_page(images).decode()))
    file = images / "old.html"
    file.write_text(re.sub(r'"written": ?[0-9.]+', '"written": 1000000000.0', seen[-1]))
    page = chromium.new_page()
    page.goto(file.as_uri())
    assert page.locator("#following").inner_text().startswith("Nothing new has come since ")
    assert page.locator("#follow").is_hidden()
    page.evaluate("window.marked = 1")
    page.wait_for_timeout(2000)
    assert page.evaluate("window.marked") == 1
    page.close()


def start(arguments, **variables):
    command = [sys.executable, "-m", "jaxstyle.app.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment(**variables), capture_output=True, text=True, check=False)


def test_open_hands_the_page_to_the_browser(tmp_path):
    folder, program = make_run(tmp_path / "run", betas=(1, 2)), tmp_path / "browser"
    program.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/asked\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    done = start(["report", folder, "--open"], BROWSER=str(program))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "asked").read_text() == (folder / "report.html").as_uri()


def test_without_a_browser_a_line_names_the_page(tmp_path):
    folder = make_run(tmp_path / "run", betas=(1, 2))
    done = start(["report", folder, "--open"], PATH=str(tmp_path), DISPLAY="", WAYLAND_DISPLAY="")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line == f"there is no browser here that opens by itself: {folder}/report.html is the page"


def test_a_browser_of_the_terminal_is_not_started(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("BROWSER", raising=False)
    monkeypatch.setattr(webbrowser, "get", lambda: webbrowser.GenericBrowser("false"))
    system_browser.open_page(tmp_path / "report.html")
    assert "no browser here" in capsys.readouterr().err


def test_a_sweep_opens_its_page_once(images, at_once, monkeypatch):
    opened = []
    monkeypatch.setattr(live_report, "open_page", opened.append)
    call([*SWEEP, "--open", "--refine", "2"])
    assert [os.fspath(file) for file in opened] == ["run/report.html"]


def test_a_shard_has_no_page_to_open(images, capsys):
    line = "--open shows a report of all lanes, which no process has with --shard"
    fails(capsys, 2, line, *SWEEP, "--open", "--shard", "0/2")
