import itertools

import pytest
from PIL import Image, ImageDraw, ImageFont

from jaxstyle.app.report.sheet import Tile, even_sample, make_sheet


def tiles(count, size=(64, 48), title="beta 1"):
    return [Tile(Image.new("RGB", size, "red"), title, "content 1, style 2")] * count


@pytest.fixture
def drawn(monkeypatch):
    """Collect the texts that a sheet draws."""
    texts = []
    draw = ImageDraw.ImageDraw.text

    def record(self, xy, text, *rest):
        texts.append(text)
        draw(self, xy, text, *rest)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", record)
    return texts


def test_even_sample_has_both_ends_and_even_gaps():
    for count, limit in ((1000, 100), (101, 100), (7, 2), (12345, 64)):
        sample = even_sample(count, limit)
        assert len(sample) == limit == len(set(sample))
        assert (sample[0], sample[-1]) == (0, count - 1)
        gaps = {b - a for a, b in itertools.pairwise(sample)}
        assert max(gaps) - min(gaps) <= 1
    assert even_sample(5, 100) == [0, 1, 2, 3, 4]
    assert even_sample(0, 100) == []


def test_few_lanes_stand_in_one_row_all_of_them(drawn):
    sheet = make_sheet(tiles(2), tiles(5), "80 steps")
    assert sheet.size == (7 * 212 + 12, 48 + 2 * 21 + 12 + 24 + 21)
    assert drawn.count("beta 1") == 7
    assert drawn[-1] == "80 steps"


@pytest.mark.parametrize("size", [(256, 256), (2000, 400), (10, 1000), (1, 1)])
def test_a_thousand_lanes_make_a_sheet_of_bounded_size_that_says_so(drawn, size):
    lanes = tiles(1000, size)
    sheet = make_sheet(tiles(40, size), lanes, "80 steps")
    assert max(sheet.size) <= 4500
    assert drawn.count("beta 1") == 116
    caption = " ".join(drawn[2 * 116 :])
    assert caption == "80 steps; 100 of 1,000 lanes drawn, evenly spread; 16 of 40 inputs drawn, evenly spread"


def test_a_hundred_lanes_are_all_drawn(drawn):
    make_sheet(tiles(2), tiles(100), "80 steps")
    assert drawn.count("beta 1") == 102
    assert drawn[-1] == "80 steps"


def test_labels_end_within_their_tile_and_the_caption_within_the_sheet(drawn):
    title = "alpha 1, beta 0.01, tv 30, learning_rate 0.03, seed 12345"
    sheet = make_sheet(tiles(1), tiles(1, title=title), "word " * 60)
    font = ImageFont.load_default(16)
    assert font.getlength(drawn[2]) <= 200
    assert drawn[2].startswith("alpha 1, beta")
    assert drawn[2].endswith("...")
    assert len(drawn[4:]) > 1
    assert all(font.getlength(line) <= sheet.width - 24 for line in drawn[4:])
    assert " ".join(drawn[4:]).split() == ["word"] * 60
