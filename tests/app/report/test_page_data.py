import csv
import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from jaxstyle.app import cli
from jaxstyle.app.commands.options import read_settings
from jaxstyle.app.report.axes import find_axes, transfer_command
from jaxstyle.app.report.page import write_report
from jaxstyle.app.run_folder.finished_run import load_run
from jaxstyle.app.run_folder.stored_run import Lane, read_stored_run
from jaxstyle.app.settings.columns import LOSSES
from jaxstyle.app.settings.lane_settings import setting_text
from jaxstyle.app.settings.settings import SHARED, Settings, to_options
from jaxstyle.app.system.errors import StartError
from jaxstyle.optimise.presets import PRESETS
from tests.run_folders import add_strengths, make_run

HOSTILE = "<script>window.taken=1;</script>\"'><img src=x onerror=window.taken=1>"


class Page(HTMLParser):
    """Elements and texts of a page."""

    def __init__(self, folder):
        super().__init__()
        self.elements = []
        self.folder = folder
        self.source = write_report(folder).read_text()
        self.feed(self.source)
        (data,) = [e["text"] for e in self.elements if e.get("id") == "data"] or ["null"]
        self.data = json.loads(data)

    def handle_starttag(self, tag, attributes):
        self.elements.append({"tag": tag, "text": "", **dict(attributes)})

    def handle_data(self, data):
        if self.elements:
            self.elements[-1]["text"] += data

    def all(self, tag=None, kind=None):
        wanted = (lambda e: tag in (None, e["tag"]), lambda e: kind is None or kind in e.get("class", "").split())
        return [e for e in self.elements if all(want(e) for want in wanted)]

    def by_id(self, name):
        return [e for e in self.elements if e.get("id") == name]


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def rewrite(folder, change):
    record = json.loads((folder / "run.json").read_text())
    change(record)
    (folder / "run.json").write_text(json.dumps(record))


def assert_self_contained(page):
    for element in page.elements:
        for name in ("src", "href", "data", "action", "poster", "srcset"):
            link = element.get(name)
            if link is None or link.startswith(("data:image/webp;base64,", "#")) or link == "data:,":
                continue
            path = Path(unquote(link))
            assert not path.is_absolute()
            assert ".." not in path.parts
            assert ":" not in link
            assert (page.folder / path).is_file()
    style = "".join(e["text"] for e in page.all("style"))
    assert "url(" not in style
    assert "@import" not in style
    addresses = set(re.findall(r"\w+://[^\s\"'<)]+", page.source))
    assert all(address.startswith("http://www.w3.org/") for address in addresses)  # these are names of vocabularies


def test_everything_is_on_the_page(run):
    page = Page(run)
    assert_self_contained(page)
    assert page.all("title")[0]["text"].startswith("cat × swirls")
    cards = page.all("a", "card")
    assert [card["href"] for card in cards] == [f"images/lane_{i:04d}.png" for i in range(5)]
    assert [e["text"].strip() for e in page.all("span", "label")] == [
        f"beta {b}" for b in ("0.01", "0.1", "1", "10", "100")
    ]
    assert len(page.all("svg", "plot")) == 2 + 4 + 1
    assert len(page.all("tr")) == 1 + 5
    assert all(image.get("alt") for image in page.all("img") if "src" in image)
    for text in ("jaxstyle sweep sample:cat sample:swirls --beta 0.01:100:5", "0.12.0", "77abdb5f" * 8):
        assert text in page.source
    for name in ("unfinished", "failures", "sampled"):
        assert not page.by_id(name)
    ids = [e["id"] for e in page.elements if "id" in e]
    assert len(ids) == len(set(ids))


def test_front_and_knee_are_those_of_each_pair(tmp_path):
    run = make_run(tmp_path / "run", contents=("cat", "coffee"), tvs=(1, 30), failed=(3,))
    page = Page(run)
    rows = list(csv.DictReader((run / "lanes.csv").read_text().splitlines()))
    points = page.all("a", "point")[:20]  # those of the first plane
    assert sorted(int(point["data-index"]) for point in points) == list(range(20))
    for point in points:
        me = rows[int(point["data-index"])]
        rivals = [row for row in rows if row["content"] == me["content"] and row["status"] == "ok"]
        pairs = [(float(row["content_loss"]), float(row["style_loss"])) for row in rivals]
        c, s = float(me["content_loss"]), float(me["style_loss"])
        beaten = any(x <= c and y <= s and (x, y) != (c, s) for x, y in pairs)
        marked = bool({"front", "knee"} & set(point["class"].split()))
        assert marked == (me["status"] == "ok" and not beaten)
    for content in "01":
        knees = [p for p in points if "knee" in p["class"] and rows[int(p["data-index"])]["content"] == content]
        assert len(knees) == 1
    assert page.data["start"] == min(int(p["data-index"]) for p in points if "knee" in p["class"])


def test_points_lie_where_their_losses_are(run):
    rows = list(csv.DictReader((run / "lanes.csv").read_text().splitlines()))
    points = sorted(Page(run).all("a", "point")[5:], key=lambda point: int(point["data-index"]))
    places = np.array([[float(x) for x in re.findall(r"[\d.]+", point["transform"])] for point in points])
    for axis, name, sign in ((0, "lpips", 1), (1, "style_distance", -1)):
        values = np.array([float(row[name]) for row in rows])
        slope, offset = np.polyfit(values, places[:, axis], 1)
        assert slope * sign > 0
        np.testing.assert_allclose(slope * values + offset, places[:, axis], atol=0.1)


def test_names_and_commands_are_text_whatever_they_hold(tmp_path):
    run = make_run(tmp_path / "run", files={"cat": HOSTILE}, failed=(1,), command=f"jaxstyle sweep '{HOSTILE}'")
    (run / "lanes.csv").write_text((run / "lanes.csv").read_text().replace("the loss was not finite", "</script><u>"))

    def change(record):
        record["options"][HOSTILE] = HOSTILE
        record["versions"][HOSTILE] = HOSTILE
        record["device"]["kind"] = record["weights"]["name"] = HOSTILE

    rewrite(run, change)
    page = Page(run)
    assert_self_contained(page)
    assert len(page.all("script")) == 2
    assert not page.all("u")
    assert not [e for e in page.elements if any(name.startswith("on") for name in e)]
    assert HOSTILE in page.data["content"][0]["file"]
    assert "<img src=x" in page.all("title")[0]["text"]


def test_names_of_layers_are_text_in_the_plots(run):
    def change(record):
        record["columns"]["layers"] = ["style_<script>$x$"]

    rewrite(run, change)
    table = (run / "lanes.csv").read_text()
    (run / "lanes.csv").write_text(table.replace("style_relu1_1", "style_<script>$x$"))
    page = Page(run)
    assert len(page.all("script")) == 2
    assert "&lt;script&gt;$x$" in page.source


def test_equal_runs_give_equal_reports_that_name_no_folder(tmp_path):
    pages = [write_report(make_run(tmp_path / name, tvs=(1, 30))).read_text() for name in ("one", "two")]
    assert pages[0] == pages[1]
    assert str(tmp_path) not in pages[0]
    assert write_report(tmp_path / "one").read_text() == pages[0]


def test_pictures_outside_the_folder_are_not_taken(tmp_path):
    run = make_run(tmp_path / "run", betas=(1,), steps=2)
    secret = tmp_path / "secret.png"
    secret.write_bytes((run / "images/content_0000.png").read_bytes())
    (run / "images/lane_0000.png").unlink()
    (run / "images/lane_0000.png").symlink_to(secret)
    for name in (
        "../secret.png",
        str(secret),
        "images/../../secret.png",
        "https://example.org/a.png",
        "images",
        "a\0b",
        7,
    ):
        rewrite(run, lambda record, name=name: record["inputs"]["content"][0].update(image=name))
        page = Page(run)
        assert page.data["content"][0]["picture"] is None
        assert page.data["content"][0]["thumbnail"] is None
        assert page.data["lanes"][0]["picture"] is None
        assert "example.org" not in page.source


def test_lost_and_damaged_pictures_are_tolerated(run):
    (run / "images/lane_0000.png").unlink()
    (run / "images/lane_0001.png").write_bytes(b"\x89PNG and nothing")
    (run / "images/lane_0002.png").write_bytes((run / "images/lane_0002.png").read_bytes()[:300])
    (run / "images/content_0000.png").unlink()
    page = Page(run)
    assert len(page.all("span", "missing")) == 3
    assert len(page.all("a", "card")) == 5
    assert_self_contained(page)


def test_a_run_that_has_only_begun(run):
    for name in ("lanes.csv", "history.csv"):
        (run / name).unlink()
    for file in run.glob("images/*"):
        file.unlink()
    page = Page(run.rename(run.with_name("a run")))
    assert page.by_id("unfinished")
    assert f"<code>jaxstyle resume &#39;{run.with_name('a run')}&#39;</code> goes on" in page.source
    assert page.data is None
    assert not page.all("svg")
    assert "jaxstyle sweep sample:cat" in page.source
    assert "5 lanes" in page.source


def test_a_run_without_its_table_shows_the_curves_and_pictures_so_far(run):
    (run / "lanes.csv").unlink()
    lines = (run / "history.csv").read_text().splitlines()
    (run / "history.csv").write_text("\n".join(lines[:40]) + "\n1,9,0.3")
    (run / "images/lane_0004.png").unlink()
    page = Page(run)
    assert page.by_id("unfinished")
    assert len(page.all("svg", "plot")) == 4
    assert [lane["lane"] for lane in page.data["lanes"]] == [0, 1, 2, 3]
    history = read_stored_run(run).history
    assert history.losses["total"].shape == (2, 30)
    assert np.isnan(history.losses["total"][1, 9:]).all()
    assert not np.isnan(history.losses["total"][0]).any()


@pytest.mark.parametrize("change", ["rows", "status"])
def test_a_table_that_is_not_complete_is_of_an_unfinished_run(run, change):
    lines = (run / "lanes.csv").read_text().splitlines(keepends=True)
    changed = lines[:3] if change == "rows" else [*lines[:-1], lines[-1].replace(",ok,", ",running,")]
    (run / "lanes.csv").write_text("".join(changed))
    page = Page(run)
    assert page.by_id("unfinished")
    assert len(page.all("a", "card")) == len(changed) - 1


def test_failed_lanes_are_marked(tmp_path):
    page = Page(make_run(tmp_path / "run", failed=(3, 4)))
    assert [e["data-index"] for e in page.all("a", "failed") if "card" in e["class"]] == ["3", "4"]
    assert page.source.count("failed: the loss was not finite") == 2
    assert page.by_id("failures")
    assert not page.by_id("unfinished")


def test_numbers_that_are_none_leave_the_rest(run):
    table = (run / "lanes.csv").read_text().splitlines()
    cells = table[2].split(",")
    for column in range(7, 19):
        cells[column] = ("nan", "", "inf")[column % 3]
    (run / "lanes.csv").write_text("\n".join([*table[:2], ",".join(cells), *table[3:]]) + "\n")
    history = (run / "history.csv").read_text().replace("0,3,", "0,3,nan,inf,-inf,nan\n0,3,", 1)
    (run / "history.csv").write_text(
        "\n".join(line[:60] for line in history.splitlines() if line.count(",") == 5) + "\n"
    )
    page = Page(run)
    assert len(page.all("a", "point")) == 2 * 4
    assert "NaN" not in json.dumps(page.data)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("run.json", None),
        ("run.json", "{"),
        ("run.json", "[]"),
        ("run.json", '{"inputs": {"content": [{}]}}'),
        ("run.json", '{"inputs": {"content": 3}}'),
        ("run.json", '{"columns": 3}'),
        ("run.json", '{"lanes": "many"}'),
        ("lanes.csv", "lane,content\n0,7\n"),
        ("lanes.csv", "lane,content\n0,-1\n"),
        ("lanes.csv", "lane,content\nx,0\n"),
        ("lanes.csv", "number\n0\n"),
        ("lanes.csv", b"\xff\xfe\x00"),
        ("history.csv", "lane,step\n0,0\n"),
        ("history.csv", "lane,step,content_loss,style_loss,tv_loss,total\n0,0,a,b,c,d\n"),
        ("history.csv", "lane,step,content_loss,style_loss,tv_loss,total\n0,0,1,1,1,1\n0,1,1\n0,2,1,1,1,1\n"),
        ("history.csv", "lane,step,content_loss,style_loss,tv_loss,total\nnan,0,1,1,1,1\n"),
    ],
)
def test_damaged_folders_are_refused_in_one_line(run, file, text):
    (run / file).unlink()
    if text is not None:
        (run / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StartError, match=r"is not a run folder|is damaged") as error:
        write_report(run)
    assert "\n" not in str(error.value)
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_tables_that_excel_or_an_editor_saved_are_read_as_before(run, encoding):
    """Tables have a byte order mark, and lines that end in carriage return and line feed."""
    wanted, loaded = read_stored_run(run), load_run(run)
    for name in ("run.json", "lanes.csv", "history.csv"):
        text = (run / name).read_text()
        (run / name).write_bytes(text.replace("\n", "\r\n").encode(encoding))
    found = read_stored_run(run)
    assert (found.record, found.lanes, found.finished) == (wanted.record, wanted.lanes, True)
    assert list(found.history.losses) == ["content_loss", "style_loss", "tv_loss", "total"]
    for name, losses in wanted.history.losses.items():
        np.testing.assert_array_equal(found.history.losses[name], losses)
    again = load_run(run)
    assert (again.settings, again.lanes) == (loaded.settings, loaded.lanes)
    assert list(again.history) == ["lane", "step", *LOSSES]
    for name, column in loaded.history.items():
        np.testing.assert_array_equal(again.history[name], column)


@pytest.mark.parametrize("name", ["lanes.csv", "history.csv"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace(",", ";"), "its cells stand between semicolons; save it as CSV with commas"),
        (lambda text: text.replace(",", "\t"), "its cells stand between tabs; save it as CSV with commas"),
        (lambda _: "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git LFS pointer"),
        (lambda text: text.replace("lane,", "number,", 1), "has no column lane"),
    ],
)
def test_tables_say_what_is_wrong_with_them(run, name, change, reason):
    (run / name).write_text(change((run / name).read_text()))
    for read in (read_stored_run, load_run):
        if read is load_run and "column" in reason:
            continue
        with pytest.raises(StartError, match=f"is damaged: {name}.*{reason}"):
            read(run)


def test_no_folder_is_no_run(tmp_path):
    with pytest.raises(StartError, match="no run.json"):
        write_report(tmp_path / "none")


def test_two_settings_make_a_table_with_beta_across(tmp_path):
    page = Page(make_run(tmp_path / "run", tvs=(30, 1)))
    (cards,) = page.by_id("cards")
    assert cards["style"] == "--columns: 5"
    labels = [e["text"].strip() for e in page.all("span", "label")]
    assert labels == [f"beta {b}, tv {t}" for t in (1, 30) for b in ("0.01", "0.1", "1", "10", "100")]
    assert page.data["axes"] == [["0.01", "0.1", "1", "10", "100"], ["1", "30"]]
    assert [lane["ranks"] for lane in page.data["lanes"]][5] == [0, 0]


def test_grids_with_holes_make_no_table(tmp_path):
    run = make_run(tmp_path / "run", tvs=(30, 1))
    lines = (run / "lanes.csv").read_text().splitlines(keepends=True)
    (run / "lanes.csv").write_text("".join(lines[:-1]))
    (cards,) = Page(run).by_id("cards")
    assert cards["class"] == "cards"


def test_64_lanes_at_256_pixels_stay_under_15_mb(tmp_path):
    run = make_run(tmp_path / "run", betas=np.geomspace(0.01, 100, 8).round(4), tvs=range(1, 9), size=256, steps=200)
    page = Page(run)
    assert len(page.all("a", "card")) == 64
    assert len(page.source) < 5e6


def test_more_than_a_thousand_lanes_are_sampled_and_it_says_so(tmp_path):
    run = make_run(tmp_path / "run", betas=np.geomspace(0.01, 100, 100).round(4), tvs=range(1, 13), size=16, steps=3)
    page = Page(run)
    (notice,) = page.by_id("sampled")
    assert "1,000 of 1,200 lanes" in " ".join(notice["text"].split())
    assert len(page.all("a", "card")) == len(page.all("a", "point")) / 2 == 1000
    assert page.source.count("64 of 1,000 lanes are drawn") == 1
    assert len(page.all("g", "line")) == 5 * 64
    assert [page.data["lanes"][i]["lane"] for i in (0, -1)] == [0, 1199]


def test_importing_it_imports_no_plots_and_no_templates_and_no_jax():
    code = (
        "import sys, jaxstyle.app.report.page, jaxstyle.app.report.sheet\n"
        "print([m for m in ('matplotlib', 'jinja2', 'jax') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_command_of_a_lane_is_one_that_transfer_takes(tmp_path):
    run = make_run(tmp_path / "run", betas=(0.5, 2))
    command = shlex.split(Page(run).data["lanes"][1]["command"])
    assert command[0] == "jaxstyle"
    args = cli._make_parser().parse_args(command[1:])
    wanted = Settings(
        "sample:cat",
        "sample:swirls",
        lanes={"alpha": (1.0,), "beta": (2.0,), "tv": (30.0,), "learning_rate": (0.03,)},
        size=64,
        steps=30,
        optimizer="adam",
    )
    assert read_settings(args) == wanted
    assert args.output == "lane_0001.png"


def test_the_command_of_a_lane_names_what_is_not_the_default():
    options = {"size": 64, "style_scale": 0.5, "style_layers": ["relu1_1"]}
    inputs = {"content": [{"file": "cat.jpg", "source": "my cat.jpg"}], "style": [{"source": "b"}]}
    record = {"options": options, "inputs": inputs}
    lane = Lane(7, settings={"beta": "10", "seed": "3"})
    command = transfer_command(record, lane)
    assert command == (
        "jaxstyle transfer 'my cat.jpg' b --beta 10 --seed 3 --size 64 --style-scale 0.5 --style-layers relu1_1 "
        "-o lane_0007.png"
    )
    assert transfer_command(record, Lane(0, settings={"unknown": "1"})) is None
    inputs |= {"content": [{"file": "-dash.png", "source": "-dash.png"}], "style": [{"file": "stdin", "source": "-"}]}
    words = shlex.split(transfer_command(record, lane))
    assert words[2:4] == ["./-dash.png", "-"]
    assert cli._make_parser().parse_args(words[1:]).content == "./-dash.png"


@pytest.mark.parametrize(
    "options",
    [
        *(["--preset", name] for name in PRESETS),
        ["--style-loss", "gram", "--style-layers", *Settings.style_layers],
        ["--convention", "gatys"],
        ["--style-loss", "nearest", "--style-layers", "hypercolumn", "--content-layers"],
    ],
    ids=" ".join,
)
def test_the_command_of_a_lane_asks_for_the_settings_of_its_run(options):
    """Whatever preset or other option they come from, on which further defaults depend."""
    parser = cli._make_parser()
    settings = read_settings(parser.parse_args(["sweep", "c.png", "s.png", "--beta", "2", *options]))
    settings = settings.with_lane_defaults()
    chosen = {name: values[0] for name, values in settings.lanes.items() if isinstance(values, tuple)}
    lane = Lane(0, settings={name: setting_text(value) for name, value in chosen.items()})
    inputs = {"content": [{"file": "c.png", "source": "c.png"}], "style": [{"file": "s.png", "source": "s.png"}]}
    record = {"options": json.loads(json.dumps(to_options(settings))), "inputs": inputs}
    words = shlex.split(transfer_command(record, lane))
    again = read_settings(parser.parse_args(words[1:])).with_lane_defaults()
    settings = replace(settings, min_size=settings.min_size or settings.size)  # two ways to have one size
    shared = SHARED.keys() - {"preset"}
    assert {name: getattr(again, name) for name in shared} == {name: getattr(settings, name) for name in shared}
    assert {name: values[0] for name, values in again.lanes.items() if isinstance(values, tuple)} == chosen


def test_axes_are_the_settings_that_vary_beta_first_in_order_of_number():
    lanes = [
        Lane(i, settings={"alpha": "1", "tv": tv, "beta": beta, "optimizer": name})
        for i, (tv, beta, name) in enumerate([("2", "10", "lbfgs"), ("1e-3", "9", "adam"), ("2", "0.5", "adam")])
    ]
    assert find_axes(lanes, ["alpha", "tv", "beta", "optimizer", "absent"]) == [
        ("beta", ["0.5", "9", "10"]),
        ("tv", ["1e-3", "2"]),
        ("optimizer", ["adam", "lbfgs"]),
    ]
    assert find_axes([], ["beta"]) == []


def test_strengths_stand_for_the_betas_of_each_pair(tmp_path):
    """One slider walks through the strengths of every pair, and another through tv; a lane's command names its beta."""
    run = make_run(tmp_path / "run", betas=(0.1, 1, 10), tvs=(30, 300), contents=("cat", "coffee"), steps=2)
    page = Page(add_strengths(run))
    assert page.data["axes"] == [["0", "0.5", "1"], ["30", "300"]]
    assert [e["aria-label"] for e in page.all("input") if e.get("type") == "range"] == ["strength", "tv"]
    last = page.data["lanes"][-1]
    assert last["ranks"] == [2, 1]
    assert "strength 1, tv 300, beta 20" in last["label"]
    words = shlex.split(last["command"])
    assert words[words.index("--beta") + 1] == "20"
    assert "--strength" not in words
