import os
import re
import stat

import pytest

from jaxstyle.app import cli
from jaxstyle.app.settings import grid_files
from jaxstyle.app.settings.grid_files import read_grid
from jaxstyle.app.settings.lane_settings import MAX_LANES
from jaxstyle.app.system.errors import AppError, StartError


@pytest.fixture
def grid(tmp_path):
    """Write a grid file and read its lanes."""

    def read(name, data):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return read_grid(path)

    return read


# TOML.


def test_product(grid):
    text = '[product]\nalpha = 2\nbeta = "0.1:10:3"\nseed = [1, "2"]\nstyle_layer_weights = [[1, 0.5]]\n'
    assert grid("a.toml", text) == [
        {"alpha": 2, "beta": b, "seed": s, "style_layer_weights": (1, 0.5)} for b in (0.1, 1, 10) for s in (1, 2)
    ]


def test_zip_varies_together_and_fastest(grid):
    text = '[zip]\nlearning_rate = [0.01, 0.03]\ntv = "1:10:2"\n[product]\nbeta = [1, 2]\n'
    assert grid("a.TOML", text) == [
        {"beta": b, "learning_rate": r, "tv": t} for b in (1, 2) for r, t in ((0.01, 1), (0.03, 10))
    ]
    assert grid("b.toml", "[zip]\nbeta = [1, 2]\ntv = [3, 4]") == [{"beta": 1, "tv": 3}, {"beta": 2, "tv": 4}]


def test_lanes_one_by_one(grid):
    text = "[[lane]]\nbeta = 0.3\nstyle_layer_weights = [1, 0]\n[[lane]]\nstyle_layer_weights = '0 1'\nbeta = 3\n"
    assert grid("a.toml", text) == [
        {"beta": 0.3, "style_layer_weights": (1, 0)},
        {"beta": 3, "style_layer_weights": (0, 1)},
    ]


def test_the_format_of_the_docstring(grid):
    text = re.sub(r"^    ", "", grid_files.__doc__, flags=re.MULTILINE)
    product = text[text.index("[product]") : text.index("\nor the lanes")]
    assert len(grid("a.toml", product)) == 4 * 2 * 2
    lane = text[text.index("[[lane]]") : text.index("In CSV")]
    assert grid("b.toml", lane) == [{"beta": 0.3, "tv": 10}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no lanes; give \[product\], \[zip\] or \[\[lane\]\]"),
        ("# nothing\n[product]\n", "no lanes; give"),
        ("lane = []", r"each lane must be a table \[\[lane\]\] with at least one setting"),
        ("[[lane]]\n", "at least one setting"),
        ("[[lane]]\nbeta = 1\n[[lane]]\ntv = 1", r"\[\[lane\]\] 2 names tv, but the first one beta"),
        ("[[lane]]\nbeta = 1\n[[lane]]\nbeta = 'x'", r"\[\[lane\]\] 2, beta: 'x' is not a number"),
        ("[[lane]]\nbeta = '1:10:2'", r"beta: '1:10:2' is not a number"),
        ("[[lane]]\nbeta = 1\n[product]\ntv = 1", r"holds \[\[lane\]\] beside \[product\] or \[zip\]"),
        ("[lane]\nbeta = 1", r"lane must be written as \[\[lane\]\]"),
        ("[[product]]\nbeta = 1", r"product must be written as \[product\]"),
        ("zip = 3", r"zip must be written as \[zip\]"),
        ("beta = [1, 2]", r"unknown key 'beta'; valid: \[product\], \[zip\], \[\[lane\]\]"),
        ("[product]\nbeta = 1\n[zip]\nbeta = [1]", r"beta is in \[product\] and in \[zip\]"),
        ("[zip]\nbeta = [1, 2]\ntv = [1]", "equally many values, got beta 2, tv 1"),
        ("[product]\ngamma = 1", "unknown setting 'gamma'; valid: alpha, beta, strength, tv"),
        ("[[lane]]\ngamma = 1", "unknown setting 'gamma'; valid: alpha, beta, strength, tv"),
        ("[product]\nbeta = []", "beta: no values"),
        ("[product]\nbeta = [1, -2]", "beta: -2 is negative"),
        ("[product]\nbeta = nan", "beta: nan is not a finite number"),
        ("[product]\nbeta = [inf]", "beta: inf is not a finite number"),
        ("[product]\nbeta = true", "beta: True is not a number"),
        ("[product]\nbeta = 1979-05-27", "beta: .* is not a number"),
        ("[product]\nbeta.x = 1", "beta: {'x': 1} is not a number"),
        ("[product]\nbeta = '10:1:2'", "beta: 10:1:2: a range"),
        ("[product]\nbeta = 0x" + "f" * 5000, "beta: a huge number is larger than float32 holds"),
        ("[product]\nbeta = " + "9" * 5000, "not TOML"),
        ("[product]\nseed = [1.0]", "seed: 1.0 is not a whole number"),
        ("[product]\nstyle_layer_weights = [[1], [1, 2]]", "style_layer_weights: lists of 1 and of 2 weights"),
        ("[[lane]]\nstyle_layer_weights = [1]\n[[lane]]\nstyle_layer_weights = [1, 2]", "lists of 1 and of 2 weights"),
        ("[product]\nbeta = [1", "not TOML: Unclosed array"),
        ("[product]\nbeta = 1\nbeta = 2\n", "not TOML: .*line 3"),
        ("[product]\nbeta = " + "[" * 100_000, "nested too deeply|not TOML"),
        ("[product]\nbeta = '1:2:1000000'\ntv = [1, 2]", "more than 1,000,000 lanes"),
    ],
    ids=lambda value: value[:40],
)
def test_wrong_toml(grid, text, message):
    with pytest.raises(StartError, match=rf"a\.toml: .*({message})") as error:
        grid("a.toml", text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


# CSV.


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n"])
def test_csv(grid, end, start):
    lines = ["beta, seed ,style_layer_weights", "0.1,1,1 0.5", "", " 2 ,2, 0   1 ", '3e1,3,"1,1"', ""]
    assert grid("a.csv", start + end.join(lines)) == [
        {"beta": 0.1, "seed": 1, "style_layer_weights": (1, 0.5)},
        {"beta": 2, "seed": 2, "style_layer_weights": (0, 1)},
        {"beta": 30, "seed": 3, "style_layer_weights": (1, 1)},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no lanes; the first line must name settings"),
        ("beta,tv\n", "no lanes"),
        ("\n\n", "no lanes"),
        ("beta,gamma\n1,2", "unknown setting 'gamma'; valid: alpha, beta, strength, tv"),
        ("1,2\n3,4", "unknown setting '1'"),
        ("beta;tv\n1;2", "its cells stand between semicolons; save it as CSV with commas"),
        ("beta,\n1,2", "unknown setting ''"),
        ("beta,tv,beta\n1,2,3", "beta is in the header twice"),
        ("beta,tv\n1,2\n\n3\n", "line 4: 1 values for 2 settings"),
        ("beta,tv\n1,2,3\n", "line 2: 3 values for 2 settings"),
        ("beta,tv\n1,x\n", "line 2, tv: 'x' is not a number"),
        ("beta,tv\n1,\n", "line 2, tv: '' is not a number"),
        ("beta\n-1\n", "line 2, beta: -1 is negative"),
        ("beta\n1\nnan\n", "line 3, beta: 'nan' is not a finite number"),
        ("beta\n1:10:3\n", "line 2, beta: '1:10:3' is not a number"),
        ("seed\n1.5\n", "line 2, seed: '1.5' is not a whole number"),
        ("learning_rate\n0\n", "line 2, learning_rate: 0 is not above 0"),
        ("style_layer_weights\n1 1\n1\n", "style_layer_weights: lists of 1 and of 2 weights"),
        ('beta\n"1', "line 2: not CSV"),
        ('beta\n"1"2', "line 2: not CSV"),
        ("beta\n" + "1" * 200_000, "line 2: not CSV: field larger"),
        ("beta\n\0\n", "line 2"),
        ("beta\n" + "1\n" * (MAX_LANES + 1), "more than 1,000,000 lanes"),
    ],
    ids=lambda value: value[:40],
)
def test_wrong_csv(grid, text, message):
    with pytest.raises(StartError, match=rf"a\.csv: {message}") as error:
        grid("a.csv", text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


# Files.


@pytest.mark.parametrize("name", ["a.csv", "a.toml"])
def test_not_utf8(grid, name):
    for data, reason in (
        (b"beta\n\xff", r"it is not UTF-8 text \(byte \d+\); save it as UTF-8"),
        ("beta\n1".encode("utf-16-le"), "it is text in UTF-16 without a byte order mark; save it as UTF-8"),
        (b"\xff\xfe\x00", r"it is not UTF-16 text \(byte \d+\); save it as UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "it is a Git LFS pointer, .*; git lfs pull"),
        (b"<!DOCTYPE html>\n<html>", "it is a web page; the download went wrong"),
        (b"PK\x03\x04" + bytes(99), "it is a ZIP archive, not text"),
    ):
        with pytest.raises(StartError, match=rf"^cannot read .*{name}: {reason}[^\n]*$"):
            grid(name, data)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_how_text_is_encoded(grid, encoding):
    """As Excel and Notepad save it: with a mark, and lines that end in carriage return and line feed."""
    rows = [{"beta": 1.0, "tv": 0.5}, {"beta": 2.0, "tv": 0.5}]
    assert grid("a.csv", "beta,tv\r\n1,0.5\r\n2,0.5\r\n".encode(encoding)) == rows
    assert grid("a.toml", "[product]\r\nbeta = [1, 2]\r\ntv = 0.5\r\n".encode(encoding)) == rows


def test_a_web_address_is_no_grid():
    with pytest.raises(StartError, match=r"^the grid https://a/b.csv is a web address, .*download it"):
        grid_files.read_grid("https://a/b.csv")


def test_too_large(grid, monkeypatch):
    monkeypatch.setattr(grid_files, "MAX_FILE_BYTES", 2_000_000)
    assert len(grid("a.csv", "beta\n" + "1\n" + "\n" * 1_999_993)) == 1
    with pytest.raises(StartError, match="has more than 2 MB"):
        grid("a.csv", "beta\n" + "1\n" + "\n" * 1_999_994)


def test_an_endless_file_is_not_read_to_its_end(tmp_path):
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    with pytest.raises(StartError, match="has more than 64 MB"):
        read_grid(tmp_path / "zero.csv")


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(StartError, match=r"cannot read .*none\.toml: no such file"):
        read_grid(tmp_path / "none.toml")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(StartError, match=r"cannot read .*folder\.csv: is a directory"):
        read_grid(str(tmp_path / "folder.csv"))
    with pytest.raises(StartError, match=r"a\.json is no grid file: its name must end in \.toml or \.csv"):
        read_grid(tmp_path / "a.json")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_no_permission(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("beta\n1")
    path.chmod(stat.S_IWUSR)
    with pytest.raises(StartError, match="permission denied"):
        read_grid(path)


def test_errors_of_files_are_those_of_the_command():
    # What the command prints for one is a line, and its exit status that of what could not start.
    error = StartError("a.csv: line 2: wrong")
    assert isinstance(error, AppError)
    assert cli._describe(error) == (2, "a.csv: line 2: wrong")
