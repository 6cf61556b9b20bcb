"""The public surface: signatures, errors at trace time that name the argument, and what importing leaves alone."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.evaluate import metrics
from jaxstyle.hypergradient.implicit_gradient import ImplicitGradient, implicit_gradient
from jaxstyle.hypergradient.run_checkpointed import run_checkpointed
from jaxstyle.network.hypercolumns import add_hypercolumns
from jaxstyle.objective import losses
from jaxstyle.objective.statistics.content_statistics import ContentStatistic, self_similarity
from jaxstyle.objective.statistics.matched import matched
from jaxstyle.objective.statistics.nearest import nearest, relaxed_emd
from jaxstyle.objective.statistics.sliced import sliced
from jaxstyle.objective.statistics.statistic import StyleStatistic
from jaxstyle.optimise.averaging import make_averaging
from jaxstyle.optimise.initial_images import starting_image
from jaxstyle.optimise.pyramid import carry, mix, run_pyramid
from jaxstyle.optimise.pyramid_sizes import scales, steps_of
from jaxstyle.optimise.stopping import make_stopping
from jaxstyle.optimise.transfer import run_chunk
from jaxstyle.parallel.lanes import make_lanes
from jaxstyle.parallel.stacked_targets import match_lanes
from tests.conftest import SHALLOW

ROOT = Path(__file__).parent.parent

# Names of arguments, in order; after / those that only a keyword sets.
SIGNATURES = {
    js.LossWeights: "alpha beta tv content_layers style_layers style_mix",
    js.Losses: "content style tv total",
    js.SweepResult: "images losses final state",
    js.Targets: "content style masks matches",
    js.Transfer: "init step losses",
    js.TransferState: "image optimizer",
    js.load_lpips: "network",
    js.load_params: "name",
    js.load_run: "path",
    js.make_features: "layers / pooling padding backend dtype",
    js.Objective: "targets loss terms match",
    js.lbfgs: "memory_size / bounds first_step max_step",
    js.make_objective: "features / content_layers style_layers content_loss style_loss convention",
    js.read_image: "path size / background max_pixels",
    js.stack_targets: "targets / content style",
    js.make_transfer: "loss optimizer / bounds",
    js.Plan: "microbatch peak temporary aliased accessed collectives",
    js.plan: "transfer start params targets weights / num_steps microbatch mesh",
    js.prepare: "params",
    js.run: "transfer state params targets weights / num_steps",
    js.shard_rows: "transfer mesh",
    js.split_rows: "image mesh",
    js.sweep: "transfer start params targets weights / num_steps microbatch mesh hyperparams on_chunk chunk_steps",
    js.weight_grid: "/ alpha beta tv content_layers style_layers style_mix",
}
# Not on the top level, but named by the README or the examples.
FURTHER = {
    run_checkpointed: "transfer state params targets weights / num_steps",
    ImplicitGradient: "targets weights optimality remaining residual",
    implicit_gradient: ("loss image cotangent params targets weights / bounds damping tolerance num_iterations"),
    run_chunk: "transfer state params targets weights count / capacity",
    run_pyramid: "transfer targets_of params content style weights / shapes num_steps start detail match",
    make_averaging: "transfer / decay",
    make_lanes: "transfer weights / microbatch mesh",
    make_stopping: "transfer / tolerance window factor",
    carry: "transfer state shape / detail",
    scales: "shape / smallest least factor",
    steps_of: "shapes / steps coarse_steps",
    starting_image: "start content style key",
    StyleStatistic: "measure distance to_target match",
    ContentStatistic: "measure distance",
    sliced: "/ key projections bins",
    nearest: "/ both count patch block",
    relaxed_emd: "/ count block",
    matched: "/ count block",
    mix: "content picture alpha",
    match_lanes: "match images params targets",
    self_similarity: "/ count",
    add_hypercolumns: "features layers / stride",
    losses.gram_matrix: "features mask",
    losses.feature_loss: "features target / convention",
    losses.gram_loss: "gram target / convention",
    losses.total_variation: "image",
    metrics.measure: "params image content style",
    metrics.lpips: "params image_a image_b",
    metrics.gram_distance: "params image style",
    metrics.sliced_distance: "params image style",
    metrics.frechet_distance: "params images references",
    metrics.lpips_frechet: "params images contents styles",
    metrics.ssim: "image reference",
    metrics.edge_similarity: "image reference",
    metrics.colour_distance: "image style",
}


def signature(function):
    parameters = inspect.signature(function).parameters.values()
    assert all(p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in parameters)
    by_place = [p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD]
    by_name = [p.name for p in parameters if p.kind == p.KEYWORD_ONLY]
    return " ".join([*by_place, *(["/", *by_name] if by_name else [])])


def test_signatures():
    assert {getattr(js, name) for name in js.__all__} == set(SIGNATURES)
    for function, wanted in (SIGNATURES | FURTHER).items():
        assert signature(function) == wanted, function


@pytest.mark.parametrize("name", [name for name in js.__all__ if inspect.isfunction(getattr(js, name))])
def test_a_person_can_read_the_signature(name):
    """Annotations show the names of aliases, such as Features, not the classes and unions that these stand for."""
    shown = str(inspect.signature(getattr(js, name)))
    assert len(shown) <= 400
    assert "Union[" not in shown
    assert "jax._src" not in shown


def test_every_public_function_is_documented():
    for name in js.metrics.__all__:
        value = getattr(metrics, name)
        assert not callable(value) or value.__doc__
    for function in FURTHER:
        assert function.__doc__


def test_importing_every_pure_module_leaves_jax_as_it_was(tmp_path):
    """No configuration changed, no backend started, no file made, nothing printed."""
    package = ROOT / "jaxstyle"
    files = [file.relative_to(package).with_suffix("").parts for file in package.rglob("[!_]*.py")]
    pure = [".".join(("jaxstyle", *parts)) for parts in files if parts[0] != "app"]
    code = f"""
import importlib, jax, flax.linen, optax
from jax._src import xla_bridge
before = dict(jax.config.values)
import jaxstyle
for name in {pure}: importlib.import_module(name)
changed = {{k for k in jax.config.values if jax.config.values[k] != before.get(k, jax.config.values[k])}}
assert not changed, changed
assert not xla_bridge.backends_are_initialized()
"""
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-B", "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_the_package_says_that_it_is_typed():
    assert (Path(importlib.import_module("jaxstyle").__file__).parent / "py.typed").is_file()


def test_the_citation_names_this_version():
    assert f"\nversion: {js.__version__}\n" in (ROOT / "CITATION.cff").read_text()


# Errors at trace time: every one is raised with shapes alone.


def traced(f, *args):
    return jax.eval_shape(f, *args)


def test_parameters_of_a_wrong_structure(problem):
    features, _, _, content, params, _ = problem
    layer = params["conv2_1"]
    for bad, message in (
        ({**params, "conv1_2": {}}, r"params have no conv1_2/kernel, of shape \(3, 3, 64, 64\); js.load_params gives"),
        ({k: v for k, v in params.items() if k != "conv1_2"}, "params have no conv1_2/kernel"),
        ({k: v for k, v in params.items() if k != "mean"}, r"params have no mean, of shape \(3,\)"),
        ({**params, "conv2_1": {"kernel": layer["kernel"]}}, r"params have no conv2_1/bias, of shape \(128,\)"),
        ({**params, "conv2_1": layer["kernel"]}, "params have no conv2_1/kernel"),
        (
            {**params, "conv2_1": {**layer, "kernel": layer["kernel"][:, :, :32]}},
            r"conv2_1/kernel of params must have shape \(3, 3, 64, 128\), got \(3, 3, 32, 128\)",
        ),
        ({"params": params}, "params have no mean"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            traced(features, bad, content)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="params must be a mapping, as js.load_params gives it, got tuple"):
        features((params,), content)


def test_what_the_network_does_not_read_may_be_missing(problem):
    features, _, _, content, params, _ = problem
    few = {k: params[k] for k in ("mean", "conv1_1", "conv1_2", "conv2_1", "conv2_2")}
    assert set(traced(features, few, content)) == {"relu1_1", "relu2_1", "relu2_2"}


def test_weights_of_lanes_where_one_setting_is_wanted(problem):
    _, transfer, loss, content, params, targets = problem
    for name in ("alpha", "beta", "tv"):
        weights = js.LossWeights()._replace(**{name: jnp.ones(4)})
        message = rf"weights.{name} must be a scalar, got shape \(4,\); js.sweep or jax.vmap take lanes"
        with pytest.raises(ValueError, match=message):
            traced(loss, content, params, targets, weights)
        with pytest.raises(ValueError, match=message):
            traced(transfer.step, transfer.init(content), params, targets, weights)


def test_images_of_a_wrong_shape(problem):
    features, transfer, loss, content, params, targets = problem
    weights = js.LossWeights()
    with pytest.raises(ValueError, match=r"image must have shape \(h, w, 3\), got \(2, 36, 34, 3\); use jax.vmap"):
        traced(loss, jnp.stack([content, content]), params, targets, weights)
    with pytest.raises(ValueError, match=r"image must have shape \(h, w, 3\), got \(36, 34\)"):
        traced(features, params, content[..., 0])
    with pytest.raises(ValueError, match=r"relu2_2 of the image has shape \(10, 17, 128\), that of the content target"):
        traced(loss, content[:20], params, targets, weights)
    with pytest.raises(ValueError, match=r"weights.style_layers must have shape \(2,\), got \(3,\)"):
        traced(loss, content, params, targets, weights._replace(style_layers=jnp.ones(3)))
    with pytest.raises(
        ValueError, match="no relu3_1 among the layers .*: style_layers must name layers that the network returns"
    ):
        traced(
            js.make_objective(features, **{**SHALLOW, "style_layers": ("relu3_1",)}).loss,
            content,
            params,
            targets,
            weights,
        )
    with pytest.raises(ValueError, match="weights must have one number of lanes, got no lane axis"):
        traced(lambda x: js.sweep(transfer, x, params, targets, weights, num_steps=1), content)


def test_slips_name_the_argument():
    for call, message in (
        (lambda: js.make_transfer(print, 0.03), "optimizer must be an optax transformation, .* got 0.03"),
        (lambda: js.make_transfer(print, optax.adam), "optimizer must be an optax transformation"),
        (lambda: js.make_objective("relu1_1").loss, "features must be a function, .* got str"),
        (lambda: js.make_objective(print, style_loss=print).loss, "unknown style_loss .*, or a StyleStatistic"),
        (lambda: js.weight_grid(beta=["a"]), r"beta must be a number >= 0 or a list of them, got \['a'\]"),
        (lambda: js.weight_grid(tv=-1), "tv must be a number >= 0 or a list of them, got -1"),
        (lambda: js.weight_grid(alpha=np.array([1, np.nan])), "alpha must be a number >= 0"),
        (
            lambda: js.weight_grid(beta=[[1.0]]),
            r"beta must be a scalar or a list of .*\(1, 1\)",
        ),
        (lambda: js.load_params(3), "name must be that of weights or a path, got 3"),
        (lambda: js.make_features()({}, [[1.0]]), r"image must have shape \(h, w, 3\), got \(1, 1\)$"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_slips_in_a_loss_name_the_argument(problem):
    features, _, loss, content, params, targets = problem
    for call, message in (
        (
            lambda: js.make_objective(params).targets(features, content, content),
            "features must be a function, .* got dict",
        ),
        (
            lambda: js.make_objective(features).targets(params, content, content, masks=jnp.ones((1, 36, 34))),
            "masks must be two",
        ),
        (lambda: loss(content, params, targets, 1.0), "weights must be LossWeights, got float"),
        (lambda: loss(content, params, None, js.LossWeights()), "targets must be Targets, got NoneType"),
        *(
            (
                lambda name=name: js.make_objective(features, style_loss=name, **SHALLOW).loss(
                    content, params, targets, js.LossWeights()
                ),
                "targets.style of relu1_1 is of another style_loss, or of features of other channels",
            )
            for name in ("wasserstein", "moments", "sliced", "nearest", "relaxed_emd", "matched")
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_lists_of_weights_are_lanes(problem):
    _, transfer, _, content, params, targets = problem
    listed, grid = js.LossWeights(beta=[0.1, 1.0]), js.weight_grid(beta=[0.1, 1.0])
    found, wanted = (js.sweep(transfer, content, params, targets, x, num_steps=1).images for x in (listed, grid))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_only_public_names_are_listed():
    assert {name for name in dir(js) if not name.startswith("__")} == {*js.__all__, "metrics", "presets"}
