import numpy as np
import pytest
from PIL import Image

from tests.command import fails, jaxstyle


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder with pictures of lane 3 at 5, 10 and 15 steps, the first at half the size, and the last one."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run" / "images" / "lane_0003"
    folder.mkdir(parents=True)
    for i, (name, size) in enumerate(
        (("step_000005", 8), ("step_000010", 16), ("step_000015", 16), ("../lane_0003", 16))
    ):
        grey(size, 40 * (i + 1)).save(folder / f"{name}.png")
    return folder


def grey(size, value):
    return Image.fromarray(np.full((size, size + 4, 3), value, np.uint8))


def test_animation_of_a_lane(run, capsys):
    assert jaxstyle("animate", "run", "--lane", "3", "-o", "lane.webp") == 0
    assert capsys.readouterr().out == "4 pictures: lane.webp\n"
    with Image.open("lane.webp") as found:
        assert (found.format, found.n_frames, found.size) == ("WEBP", 4, (20, 16))
        for i in range(4):
            found.seek(i)
            found.load()
            assert abs(np.asarray(found.convert("RGB"), float).mean() - 40 * (i + 1)) < 3
            assert found.info["duration"] == (100 if i < 3 else 2000)


def test_animation_of_a_lane_still_on_its_way(run):
    (run.parent / "lane_0003.png").unlink()
    assert jaxstyle("animate", "run", "--lane", "3", "-o", "lane.webp") == 0
    with Image.open("lane.webp") as found:
        assert found.n_frames == 3


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["run", "-o", "lane.webp"], "run holds no pictures of lane 0 on its way: jaxstyle sweep --save-every N"),
        (["nothing", "-o", "lane.webp"], "nothing holds no pictures"),
        (["run", "--lane", "3", "-o", "lane.gif"], "cannot write lane.gif: an animation is a .webp file"),
        (
            ["run", "--lane", "3", "-o", "no/lane.webp"],
            "cannot write no/lane.webp: give the name of a file",
        ),
        (["run", "--lane", "3", "-o", "taken.webp"], "taken.webp exists; give another file, or --overwrite"),
    ],
)
def test_what_can_not_be_animated(run, tmp_path, capsys, arguments, pattern):
    (tmp_path / "taken.webp").write_text("mine")
    fails(capsys, 2, pattern, "animate", *arguments)
    assert (tmp_path / "taken.webp").read_text() == "mine"


def test_a_damaged_picture(run, capsys):
    file = run / "step_000010.png"
    file.write_bytes(file.read_bytes()[:40])
    assert jaxstyle("animate", "run", "--lane", "3", "-o", "lane.webp") in (1, 2)
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "step_000010.png" in err
