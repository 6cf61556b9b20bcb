"""The command on eight simulated devices; test_run_job.py runs it in a process of its own."""

import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from PIL import Image

import jaxstyle as js
from jaxstyle.app.execution import lanes_of_shape
from tests.command import QUICKEST, jaxstyle, read_table

SWEEP = ["sweep", "c.png", "s.png", *QUICKEST, "--style-layers", "relu1_1", "--microbatch", "2"]
full_mesh = lanes_of_shape.make_mesh


def sweep(out, betas, *options):
    assert jaxstyle(*SWEEP, "--beta", *betas, "--out", out, *options) == 0
    return js.load_run(out)


def devices(count, lanes):
    assert lanes
    return None if count == 1 else Mesh(np.array(jax.devices()[:count]), ("lanes",))


def check_same_bits_where_the_batch_of_a_device_is_the_same():
    betas = [f"{b:g}" for b in np.logspace(-2, 2, 16)]
    on_eight = sweep("eight", betas)
    lanes_of_shape.make_mesh = partial(devices, 2)
    on_two = sweep("two", betas[4:8])
    lanes_of_shape.make_mesh = full_mesh
    np.testing.assert_array_equal(on_two.images, on_eight.images[4:8])
    for name in ("content_loss", "style_loss", "tv_loss", "total"):
        np.testing.assert_array_equal(on_two.history[name], on_eight.history[name].reshape(16, -1)[4:8].ravel())
    assert len({lane["total"] for lane in on_eight.lanes}) == 16


def check_padding_stages_and_compaction():
    betas = [f"{b:g}" for b in np.logspace(0, 6, 11)]
    options = ["--min-size", "12", "--coarse-steps", "2", "--tolerance", "0.5", "--steps", "70"]
    found = sweep("padded", betas, *options)
    lanes_of_shape.make_mesh = partial(devices, 1)
    wanted = sweep("alone", betas, *options)
    lanes_of_shape.make_mesh = full_mesh
    steps = [lane["steps"] for lane in found.lanes]
    assert steps == [lane["steps"] for lane in wanted.lanes]
    assert sum(taken > 50 for taken in steps) in range(1, 9)  # so 8 lanes of 16 are left out from step 50 on
    assert max(steps) < 72
    for name in ("content_loss", "style_loss", "total"):
        np.testing.assert_allclose(found.history[name], wanted.history[name], rtol=0.02, atol=1e-6)
    assert np.abs(found.images - wanted.images).mean() < 2e-3
    assert all(row["reason"].startswith("converged") for row in read_table(Path("padded/lanes.csv")))


def check_masks():
    halves = np.zeros((2, 20, 24), np.uint8)
    halves[0, :, :12] = halves[1, :, 12:] = 255
    for name, half in zip(("left.png", "right.png"), halves, strict=True):
        Image.fromarray(half).save(name)
    regions = ["--content-mask", "left.png", "right.png", "--blend", "c.png"]
    regions += ["--style-loss", "wasserstein"]
    betas = ["0.1", "1", "10", "100"]
    found = sweep("regions", betas, *regions)
    lanes_of_shape.make_mesh = partial(devices, 1)
    wanted = sweep("regions_alone", betas, *regions)
    lanes_of_shape.make_mesh = full_mesh
    for name in ("content_loss", "style_loss", "total"):
        np.testing.assert_allclose(found.history[name], wanted.history[name], rtol=0.02, atol=1e-6)


if __name__ == "__main__":
    assert jax.device_count() == 8
    check_same_bits_where_the_batch_of_a_device_is_the_same()
    check_padding_stages_and_compaction()
    check_masks()
    sys.exit(0)
