"""Options of the command about style, colour and start: several style images, scale, colours, textures."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxstyle as js
from jaxstyle.app import cli
from jaxstyle.app.commands.options import read_settings
from jaxstyle.app.execution.job import load_job
from jaxstyle.app.pictures.at_scale import at_scale
from jaxstyle.app.pictures.image_sources import Picture
from jaxstyle.app.pictures.job_pictures import (
    Pictures,
    StyleChoice,
    StyleSet,
    choose_style,
    finish_images,
    load_pictures,
    start_image,
    style_images,
)
from jaxstyle.app.pictures.masks import load_masks
from jaxstyle.app.pictures.read_image import read_image
from jaxstyle.app.settings.settings import Settings
from jaxstyle.colour import luminance, match_colours, match_luminance, to_gray, with_colours_of
from jaxstyle.objective.statistics.style_statistics import style_statistic
from jaxstyle.objective.weight_defaults import STYLE_LOSSES
from jaxstyle.optimise.presets import PRESETS
from tests.command import POOLED, QUICKEST, fails, jaxstyle, read_table

pytestmark = pytest.mark.usefixtures("xla_convolutions")


@pytest.fixture
def more(images, rng):
    """Another content and another style image."""
    for name, shape in (("c2.png", (20, 24, 3)), ("t.png", (22, 22, 3))):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(name)
    return images


@pytest.mark.slow
def test_a_row_of_pictures_from_one_style_to_another(more):
    mixes = ["--style-mix", "1,0", "0.25,0.75", "0,1"]
    options = [*QUICKEST, "--beta", "1", "--tv", "0"]
    assert jaxstyle("sweep", "c.png", "s.png", *options, "--blend", "t.png", *mixes, "--out", "row") == 0
    run = js.load_run("row")
    a, mixed, b = (run.history["style_loss"][4 * i] for i in range(3))  # of the start, which is the content for all
    assert mixed == pytest.approx(0.25 * a + 0.75 * b, rel=1e-5)
    assert jaxstyle("sweep", "c.png", "t.png", *options, "--out", "alone") == 0
    alone = js.load_run("alone")
    assert np.abs(run.images[2] - alone.images[0]).mean() < 2e-3
    assert run.lanes[2]["style_loss"] == pytest.approx(alone.lanes[0]["style_loss"], rel=1e-3)
    assert [row["style_mix"] for row in read_table(more / "row" / "lanes.csv")] == ["1,0", "0.25,0.75", "0,1"]
    record = json.loads((more / "row" / "run.json").read_text())
    assert record["options"]["blend"] == ["t.png"]
    assert [entry["file"] for entry in record["inputs"]["blend"]] == ["t.png"]
    assert (more / "row" / "images" / "blend_0000.png").exists()
    with Image.open(more / "row" / "images" / "lane_0001.png") as picture:
        text = json.loads(picture.text["jaxstyle"])
    assert (text["style"], text["blend"], text["style_mix"]) == ("s.png", ["t.png"], [0.25, 0.75])


def test_a_grid_file_mixes_styles(more):
    (more / "grid.toml").write_text("[product]\nstyle_mix = [[1, 0], [0.5, 0.5]]\n")
    layers = {"content_layers": ("relu1_2",), "style_layers": ("relu1_1",)}
    job = load_job(Settings("c.png", "s.png", blend=("t.png",), grid="grid.toml", weights="random:0", **layers))
    assert {row["style_mix"] for row in job.lanes} == {(1, 0), (0.5, 0.5)}
    assert [picture.name for picture in job.pictures.largest.blend] == ["t.png"]


def _sizes(image):
    return {"relu1_1": image.shape[:2]}


def test_style_scale_is_relative_to_the_size(images, capsys, rng):
    Image.fromarray(rng.integers(0, 256, (40, 80, 3), dtype=np.uint8)).save("wide.png")
    for scale, shape in ((0.5, (5, 10)), (1, (10, 20)), (1.5, (15, 30)), (9, (40, 80))):
        settings = Settings("c.png", "wide.png", blend=("wide.png",), size=20, lanes={"style_scale": scale})
        for lane in ({}, {"style_scale": scale}):
            found = load_pictures(settings, [lane], 2, _sizes)
            assert [picture.image.shape[:2] for picture in (*found.largest.styles, *found.largest.blend)] == [shape] * 2
    assert "wide.png has 80x40 pixels, fewer than --style-scale 9 (180 pixels): it keeps" in capsys.readouterr().err


def test_style_images_and_masks_have_the_scales_of_the_lanes(masks):
    options = {"blend": ("t.png",), "content_mask": ("left.png", "right.png")}
    options["style_mask"] = ("top.png", "bottom.png", "tall.png", "tall.png")
    Image.new("L", (22, 44), 255).save("tall.png")
    Image.new("RGB", (22, 44)).save("t.png")
    lanes = [{"style_scale": scale} for scale in (1.0, 0.5, 1.0)]
    found = load_pictures(Settings("c.png", "s.png", size=20, style_layers=("relu1_1",), **options), lanes, 2, _sizes)
    assert list(found.style_sets) == [0.5, 1]
    for scale, (style, blend) in {0.5: ((6, 10), (10, 5)), 1: ((12, 20), (20, 10))}.items():
        images = found.style_sets[scale]
        assert [p.image.shape[:2] for kind in images for p in kind] == [style, blend, style, style, blend, blend]
    assert [picture.image.shape[:2] for picture in found.by_kind()["style"]] == [(12, 20)]
    coarse = at_scale(found, (16, 20), (8, 10), least=2)
    for scale, images in found.style_sets.items():
        half = [tuple(round(side / 2) for side in p.image.shape[:2]) for kind in images for p in kind]
        assert [p.image.shape[:2] for kind in coarse.style_sets[scale] for p in kind] == half


def test_a_style_too_small_at_one_scale_is_left_out_at_all(images, capsys, rng):
    (images / "styles").mkdir()
    for name, shape in (("long.png", (8, 80, 3)), ("wide.png", (40, 80, 3))):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(images / "styles" / name)
    lanes = [{"style_scale": scale} for scale in (1.0, 0.5)]
    found = load_pictures(Settings("c.png", "styles", size=40), lanes, 4, _sizes)
    assert [[p.name for p in each.styles] for each in found.style_sets.values()] == [["wide.png"]] * 2
    assert found.skipped == {"long.png": "20x2 pixels, fewer than the 4 a side that the layers need"}


@pytest.mark.parametrize("style_loss", STYLE_LOSSES)
def test_targets_of_all_scales_have_one_shape(style_loss):
    """So lanes of several scales share a batch, whatever the statistic; a small image has fewer positions than bins."""
    statistic = style_statistic(style_loss)

    def shapes(h, w):
        features = jax.ShapeDtypeStruct((h, w, 8), "float32")
        target = jax.eval_shape(lambda f: statistic.to_target(statistic.measure(f, None)), features)
        return [leaf.shape for leaf in jax.tree.leaves(target)]

    assert shapes(2, 3) == shapes(7, 5) == shapes(40, 60)


@pytest.mark.slow
@pytest.mark.parametrize("style_loss", ["wasserstein", "sliced"])
def test_each_scale_of_a_sweep_is_that_of_a_transfer(images, style_loss, rng):
    """In one batch, and at each of two sizes."""
    Image.fromarray(rng.integers(0, 256, (48, 80, 3), dtype=np.uint8)).save("s.png")
    options = [*QUICKEST, "--size", "24", "--min-size", "12", "--coarse-steps", "3", "--style-loss", style_loss]
    options += ["--style-layers", "relu1_1", "--beta", "30", "--tv", "0", "--learning-rate", "0.05"]
    assert jaxstyle("sweep", "c.png", "s.png", *options, "--style-scale", "0.5:2:3", "--out", "run") == 0
    run = js.load_run("run")
    assert [lane["style_scale"] for lane in run.lanes] == [0.5, 1, 2]
    assert run.settings["options"]["style_scale"] == [0.5, 1, 2]
    (style,) = run.settings["inputs"]["style"]
    assert (style["height"], style["width"]) == (29, 48)
    with Image.open("run/images/style_0000.png") as picture:
        assert picture.size == (48, 29)
    with Image.open("run/images/lane_0002.png") as picture:
        assert json.loads(picture.text["jaxstyle"])["style_scale"] == 2
    for lane, image in zip(run.lanes, run.images, strict=True):
        words = [*options, "--style-scale", lane["style_scale"], "-o", "out.png", "--overwrite"]
        assert jaxstyle("transfer", "c.png", "s.png", *words) == 0
        with Image.open("out.png") as solo:
            assert np.abs(np.asarray(solo) / 255 - image).mean() < 2e-3
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(run.images[i] - run.images[j]).mean() > 3e-3


@pytest.mark.slow
def test_a_grid_file_sets_scales(images):
    (images / "grid.toml").write_text("[zip]\nstyle_scale = [0.5, 1]\nbeta = [1, 2]\n")
    assert jaxstyle("sweep", "c.png", "s.png", *QUICKEST, "--size", "24", "--grid", "grid.toml", "--out", "run") == 0
    assert [(row["style_scale"], row["beta"]) for row in read_table(images / "run" / "lanes.csv")] == [
        ("0.5", "1"),
        ("1", "2"),
    ]


def pictures(*shapes):
    rng = np.random.default_rng(9)
    found = [Picture(f"{i}.png", rng.uniform(size=(*s, 3)).astype(np.float32), "") for i, s in enumerate(shapes)]
    return Pictures(found[:2], {1.0: StyleSet(found[2:3], found[3:], [])}, start=None, content_masks=[], skipped={})


def test_colours_of_each_pair():
    inputs = pictures((20, 24), (20, 24), (18, 30), (22, 22))
    for number in (0, 1):
        content = jnp.asarray(inputs.contents[number].image)
        for colour, change in (
            ("match", match_colours),
            ("content", match_luminance),
            ("style", lambda s, _: s),
            ("mapped", lambda s, _: to_gray(s)),
        ):
            choice = choose_style(Settings("c.png", "s.png", colour=colour), {"content": number, "style": 0})
            assert choice == StyleChoice(None if colour in ("style", "mapped") else number, 0, 1.0)
            found = style_images(inputs, colour, choice)
            assert len(found) == 2
            for one, picture in zip(found, (*inputs.largest.styles, *inputs.largest.blend), strict=True):
                np.testing.assert_allclose(one, change(jnp.asarray(picture.image), content), atol=1e-5)


def test_final_images_get_their_contents_chroma(rng):
    inputs = pictures((6, 8), (6, 8), (6, 8))
    images = 0.5 + 0.1 * rng.uniform(size=(3, 6, 8, 3)).astype(np.float32)
    lanes = [{"content": number, "style": 0} for number in (0, 1, 0)]
    finished = {
        colour: finish_images(inputs, Settings("c.png", "s.png", colour=colour), images, lanes)
        for colour in ("match", "content", "mapped")
    }
    np.testing.assert_array_equal(finished["match"], images)
    style = jnp.asarray(inputs.largest.styles[0].image)
    for colour in ("content", "mapped"):
        for image, found, lane in zip(images, finished[colour], lanes, strict=True):
            np.testing.assert_allclose(luminance(found), luminance(image), atol=1e-5)
            content = jnp.asarray(inputs.contents[lane["content"]].image)
            content = content if colour == "content" else match_colours(content, style)
            chroma, wanted = found - to_gray(found), content - to_gray(content)
            assert (chroma * wanted > -1e-5).all()
            assert np.abs(chroma).max() > 0.1


def test_mapped_colours_are_those_of_the_mix():
    """Of STYLE and of --blend: weights are shares, and without any all count alike."""
    inputs = pictures((6, 8), (6, 8), (6, 8), (5, 7))
    settings, image = Settings("c.png", "s.png", colour="mapped"), np.full((6, 8, 3), 0.5, np.float32)
    mixes = ((1.0, 0.0), (0.0, 3.0), (1.0, 3.0), None, (0.0, 0.0))
    lanes = [{"content": 0, "style": 0, **({"style_mix": mix} if mix else {})} for mix in mixes]
    first, second, *both = finish_images(inputs, settings, [image] * len(lanes), lanes)
    content, styles = inputs.contents[0].image, [*inputs.largest.styles, *inputs.largest.blend]
    for found, style in zip((first, second), styles, strict=True):
        wanted = with_colours_of(image, match_colours(content, style.image))
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    maps = [match_colours(content, style.image) for style in styles]
    for found, share in zip(both, (0.25, 0.5, 0.5), strict=True):
        wanted = with_colours_of(image, share * maps[0] + (1 - share) * maps[1])
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_start_from_a_file_covers_the_content():
    inputs = pictures((20, 24), (20, 24), (18, 30))
    image = np.zeros((10, 12, 3), np.float32)
    image[:, 6:] = 1
    inputs = inputs._replace(start=Picture("half.png", image, ""))
    found = start_image(inputs, "half.png", jnp.zeros((20, 24, 3)), jnp.zeros((18, 30, 3)), 0)
    assert found.shape == (20, 24, 3)
    assert found[:, :10].max() < 0.1
    assert found[:, 14:].min() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("colour", ["content", "match", "mapped"])
def test_colours_in_a_sweep_are_those_of_each_pair_alone(more, colour):
    (more / "contents").mkdir()
    for name in ("c.png", "c2.png"):
        (more / "contents" / name).write_bytes((more / name).read_bytes())
    options = [*QUICKEST, "--beta", "1", "30", "--tv", "0", "--colour", colour]
    assert jaxstyle("sweep", "contents", "s.png", *options, "--out", "all") == 0
    run = js.load_run("all")
    assert run.settings["options"]["colour"] == colour
    assert jaxstyle("sweep", "c2.png", "s.png", *options, "--out", "one") == 0
    alone = js.load_run("one")
    assert np.abs(run.images[2:] - alone.images).mean() < 2e-3
    for together, solo in zip(run.lanes[2:], alone.lanes, strict=True):
        assert together["style_loss"] == pytest.approx(solo["style_loss"], rel=0.02)
        assert together["content_loss"] == pytest.approx(solo["content_loss"], rel=0.02, abs=1e-6)
    content = read_image("c2.png")
    styled = run.images[3]
    assert np.abs(luminance(styled) - luminance(content)).mean() > 0.005
    if colour in ("content", "mapped"):
        content = content if colour == "content" else np.asarray(match_colours(content, read_image("s.png")))
        chroma, wanted = styled - to_gray(styled), content - to_gray(content)
        assert (chroma * wanted > -2e-3).all()  # in 8 bits


@pytest.mark.slow
def test_every_start(images):
    for init in ("content", "noise", "style", "gray", "statistics"):
        found = load_pictures(Settings("c.png", "s.png", init=init), [{}], 2, _sizes)
        content, style = jnp.asarray(found.contents[0].image), jnp.asarray(found.largest.styles[0].image)
        one, two = (start_image(found, init, content, style, seed) for seed in (1, 2))
        assert one.shape == content.shape
        assert np.array_equal(one, two) == (init in ("content", "style"))
    Image.new("RGB", (50, 50), (255, 0, 0)).save("red.png")
    weights = ["--alpha", "0", "--beta", "0", "--tv", "1", "--optimizer", "lbfgs"]  # one colour stays
    assert jaxstyle("sweep", "c.png", "s.png", *QUICKEST, *weights, "--init", "red.png", "--out", "run") == 0
    np.testing.assert_array_equal(js.load_run("run").images[0], np.broadcast_to([1, 0, 0], (20, 24, 3)))
    with Image.open("run/images/lane_0000.png") as picture:
        assert json.loads(picture.text["jaxstyle"])["init"] == "red.png"
    assert (images / "run" / "images" / "start_0000.png").exists()


@pytest.fixture
def masks(images):
    """Left and right half of the content, top and bottom half of the style; one black, one of another shape."""
    left, top = np.zeros((20, 24), np.uint8), np.zeros((180, 300), np.uint8)
    left[:, :12], top[:90] = 255, 255
    for name, mask in (("left", left), ("right", 255 - left), ("top", top), ("bottom", 255 - top)):
        Image.fromarray(mask).save(f"{name}.png")
    Image.new("L", (24, 20)).save("black.png")
    Image.new("L", (24, 24), 255).save("square.png")
    return images


@pytest.mark.slow
def test_each_region_takes_its_own_style(masks, rng):
    """The first STYLE, the second the image of --blend, as at each place of a transfer of it everywhere."""
    Image.fromarray(rng.integers(0, 60, (18, 30, 3), dtype=np.uint8)).save("dark.png")
    options = [*QUICKEST[:-1], "12", "--alpha", "0", "--beta", "1", "--tv", "0", "--out"]
    regions = ["--blend", "dark.png", "--content-mask", "left.png", "right.png"]
    assert jaxstyle("sweep", "c.png", "s.png", *options, "both", *regions) == 0
    run = js.load_run("both")
    assert run.lanes[0]["style_mix"] == "1,1"
    assert run.settings["options"]["content_mask"] == ["left.png", "right.png"]
    left, right = run.images[0][:, :10], run.images[0][:, 14:]
    before = read_image("c.png")
    assert right.mean() < before[:, 14:].mean() - 0.05
    assert left.mean() > right.mean() + 0.05
    assert (masks / "both" / "images" / "content_mask_0001.png").exists()


def test_what_is_transparent_in_a_mask_is_no_part_of_its_region(masks):
    """As painting programs save masks: white where opaque, and nothing elsewhere."""
    opaque = Image.open("left.png")
    Image.merge("LA", (Image.new("L", opaque.size, 255), opaque)).save("clear.png")
    picture = Picture("c.png", read_image("c.png"), "")
    for mask in load_masks(["left.png", "clear.png"], picture, max_pixels=None):
        np.testing.assert_array_equal(mask.image[:, :11], 1)
        np.testing.assert_array_equal(mask.image[:, 13:], 0)


@pytest.mark.slow
def test_what_no_mask_covers_stays(masks):
    options = [*QUICKEST, "--alpha", "0", "--beta", "1", "--tv", "0", "--out", "run"]
    assert jaxstyle("sweep", "c.png", "s.png", *options, "--content-mask", "left.png") == 0
    change = np.abs(js.load_run("run").images[0] - read_image("c.png")).mean((0, 2))
    assert change[20:].max() < 1e-6  # farther from the edge than features see
    assert change[:8].min() > 0.01


@pytest.mark.slow
def test_masks_of_the_style_choose_what_of_it(masks, rng):
    """The left takes the style's dark bottom, the right its light top."""
    style = np.concatenate([np.full((90, 300, 3), 230), np.full((90, 300, 3), 20)]).astype(np.uint8)
    style += rng.integers(0, 20, style.shape, dtype=np.uint8)
    Image.fromarray(style).save("two.png")
    options = [*QUICKEST[:-1], "12", "--size", "24", "--alpha", "0", "--beta", "1", "--tv", "0", "--out", "run"]
    regions = ["--content-mask", "left.png", "right.png", "--style-mask", "bottom.png", "top.png"]
    assert jaxstyle("sweep", "c.png", "two.png", *options, *regions) == 0
    image = js.load_run("run").images[0]
    assert image[:, :10].mean() < image[:, 14:].mean() - 0.2


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["--content-mask", "left.png", "right.png"], "2 content masks for 1 style images: without --style-mask"),
        (["--style-mask", "top.png"], "--style-mask needs --content-mask"),
        (["--content-mask", "left.png", "--style-mask", "top.png", "bottom.png"], "2 style masks for 1 content masks"),
        (["--content-mask", "square.png"], r"square.png is 1.00 times as wide as high, its image c.png 1.20 times"),
        (["--content-mask", "black.png"], "region 0 of the content masks is empty .*white where"),
        (["--content-mask", "left.png", "--style-mask", "black.png"], "the mask black.png is 1.20 times"),
        (["--content-mask", "no.png"], "no.png: no such file"),
        (["--content-mask", "left.png", "--colour", "mapped"], "mapped maps the whole picture's colours: leave --cont"),
        (["--content-mask", "left.png", "--blend", "s.png"], "1 content masks for 2 style images"),
        (["--style-loss", "moments", "--convention", "gatys"], "convention 'gatys' is for Gram matrices"),
        (["--style-loss", "texture"], "argument --style-loss: invalid choice: 'texture'"),
        (["--padding", "wrap"], "argument --padding: invalid choice: 'wrap'"),
        (["--pooling", "min"], "argument --pooling: invalid choice: 'min'"),
    ],
)
def test_bad_masks_and_losses_are_one_line(masks, capsys, arguments, pattern):
    fails(capsys, 2, pattern, "sweep", "c.png", "s.png", *QUICKEST, *arguments)


@pytest.mark.slow
def test_a_texture_needs_no_content(images, capsys):
    layers = QUICKEST[:2] + QUICKEST[4:-1]
    losses = []
    for steps in ("1", "15"):
        texture = ["texture", "s.png", *layers, steps, "--tv", "0", "--size", "24"]
        assert jaxstyle(*texture, "-o", f"{steps}.png") == 0
        out = capsys.readouterr().out
        assert "content" not in out
        losses.append(float(out.split("style ")[1].split(":")[0]))
    assert losses[1] < losses[0] / 2
    with Image.open("15.png") as picture:
        assert picture.size == (24, 24)
        text = json.loads(picture.text["jaxstyle"])
    assert (text["alpha"], text["content_layers"], text["content"], text["init"]) == (0, [], "", "noise")
    fails(capsys, 2, "no content image to start from", *texture, "-o", "d.png", "--init", "content")
    fails(capsys, 2, "unrecognized arguments: --colour", *texture, "-o", "d.png", "--colour", "match")
    pooled = ["--style-layers", "relu1_1", "relu2_1"]
    fails(capsys, 2, "--size 3 is too small for the layers", *texture[:-1], "3", *pooled, "-o", "d.png")


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (
            ["--style-mix", "1,0"],
            "2 weights of style images for 1: give one for STYLE and one for each image of --blend",
        ),
        (["--blend", "s.png", "--style-mix", "1"], "1 weights of style images for 2"),
        (["--style-mix", "1,0", "1"], "style_mix: lists of 1 and of 2 weights"),
        (["--style-mix", "1,x"], "argument --style-mix: 'x' is not a number"),
        (["--style-mix", "1,-1"], "argument --style-mix: -1 is negative"),
        (["--content-layer-weights", "1,1"], "2 weights of content layers for 1 layers: give one each for relu1_1"),
        (["--content-layer-weights", "1,-1"], "argument --content-layer-weights: -1 is negative"),
        (["--blend", "no.png"], "no.png: no such file"),
        (["--blend", "-", "-"], "standard input"),
        (["--style-scale", "0"], "argument --style-scale: 0 is not above 0"),
        (
            ["--style-scale", "0.02"],
            r"--style-scale 0.\d+ \(\d pixels\) makes s.png .*works is --style-scale 0.\d+ \(\d+ pix",
        ),
        (
            ["--style-scale", "1", "0.02"],
            r"--style-scale 0.\d+ \(\d pixels\) makes s.png .*works is --style-scale 0.\d+ \(\d+ pix",
        ),
        (["--style-scale", "2:1:3"], "argument --style-scale: 2:1:3: a range LOW:HIGH:COUNT needs 0 < LOW < HIGH"),
        (["--style-scale", "1", "2", "--blend", "-"], "standard input can be read for one --style-scale only"),
        (["--colour", "both"], "argument --colour: invalid choice: 'both'"),
        (
            ["--init", "zeros"],
            "--init zeros is neither content, noise, style, gray, statistics nor an image: .*no such file",
        ),
    ],
)
def test_bad_options_are_one_line(images, capsys, arguments, pattern):
    fails(capsys, 2, pattern, "sweep", "c.png", "s.png", *POOLED, *arguments)


def settings_of(command):
    return read_settings(cli._make_parser().parse_args(command.split()))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_fills_in_what_is_not_given(name):
    preset, plain = PRESETS[name], settings_of("sweep c s")
    found = settings_of(f"sweep c s --preset {name} --steps 7")
    assert (found.preset, found.steps, found.init) == (name, 7, preset.start)
    for field in ("convention", "content_layers", "style_layers", "style_loss", "pooling", "padding", "optimizer"):
        assert getattr(found, field) == getattr(preset, field)
    assert found.lanes["style_layer_weights"] == (preset.style_layer_weights,)
    for field in ("alpha", "beta", "tv"):
        value = getattr(preset, field)
        wanted = plain.lanes[field] if value is None else (value,)
        assert found.lanes[field] == (preset.alphas if field == "alpha" and preset.alphas else wanted)


def test_what_is_given_beside_a_preset_counts():
    found = settings_of("sweep c s --preset crowson --beta 1 2 --pooling average --init noise")
    assert (found.lanes["beta"], found.lanes["tv"]) == ((1, 2), (2.0,))
    assert (found.pooling, found.init) == ("average", "noise")
    other = settings_of("sweep c s --preset crowson --convention relative")  # weights mean nothing in another one
    assert [other.lanes[name] for name in ("alpha", "beta", "tv")] == [(1.0,), None, None]
    assert other.convention == "relative"
    fewer = settings_of("sweep c s --preset johnson --style-layers relu1_1")
    assert fewer.lanes["style_layer_weights"] is None
    texture = settings_of("texture s -o x.png --preset gatys")
    assert (texture.content, texture.content_layers, texture.init) == (None, (), "noise")
    assert texture.lanes["alpha"] == (0,)


@pytest.mark.slow
def test_a_preset_is_recorded_resolved(images):
    arguments = [
        "--weights",
        "random:0",
        "--steps",
        "2",
        "--preset",
        "crowson",
        "--style-layers",
        "relu1_1",
        "--size",
        "24",
    ]
    layers = ["--content-layers", "relu1_2"]
    assert jaxstyle("sweep", "c.png", "s.png", *arguments, *layers, "--out", "run") == 0
    options = json.loads((images / "run" / "run.json").read_text())["options"]
    assert (options["preset"], options["style_loss"], options["padding"]) == ("crowson", "wasserstein", "replicate")
    assert (options["beta"], options["tv"], options["content_layers"]) == ([1.0], [2.0], ["relu1_2"])
