"""Every public function under every transformation of jax: one table, in which nothing is left out without a reason."""

from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from typing import Any, NamedTuple

import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export, lax
from jax.sharding import Mesh, PartitionSpec

import jaxstyle as js
from jaxstyle import colour
from jaxstyle.evaluate import metrics
from jaxstyle.hypergradient.implicit_gradient import implicit_gradient
from jaxstyle.hypergradient.run_checkpointed import run_checkpointed
from jaxstyle.objective import losses
from jaxstyle.objective.statistics.style_statistics import style_statistic
from jaxstyle.optimise.averaging import make_averaging
from jaxstyle.optimise.initial_images import starting_image
from jaxstyle.optimise.lbfgs import lbfgs
from jaxstyle.optimise.pyramid import resize, run_pyramid
from jaxstyle.optimise.stopping import make_stopping
from jaxstyle.parallel.stacked_targets import StackedTargets
from tests.conftest import widen

LAYERS = {"content_layers": ("relu1_1",), "style_layers": ("relu1_1",)}
DEEP = {"content_layers": ("relu1_2",), "style_layers": ("relu1_1", "relu2_1")}
KERNELS = ("mean", "conv1_1", "conv1_2", "conv2_1")


class Row(NamedTuple):
    """A function of arrays, and what of it there is to transform: places of arguments, None where it has none.

    image is the main argument: an image, or features; that of weight_grid is a list of betas.
    """

    function: Callable[..., Any]
    arguments: Callable[[], tuple[Any, ...]]
    image: int | None = 0
    weights: int | None = None
    params: int | None = None
    key: int | None = None
    forward: bool = True  # mode of differentiation; else it has a custom gradient
    rounded: bool = False  # to bfloat16, whatever comes in: its value jumps, and isn't float64
    draws: bool = False  # random numbers, which are others in float64
    slow: bool = False  # takes long to compile, or is made of other rows: most of its cells are slow tests


@cache
def params():
    return {name: jax.tree.map(jnp.asarray, js.load_params("random:0")[name]) for name in KERNELS}


@cache
def lpips_params():
    return jax.tree.map(jnp.asarray, js.load_lpips("alex"))


def picture(seed, h=8, w=10):
    smooth = np.random.default_rng(seed).uniform(size=(h, w, 3))
    return jnp.asarray(0.15 + 0.7 * smooth, jnp.float32)


WEIGHTS = js.LossWeights(jnp.float32(1), jnp.float32(0.5), jnp.float32(0.01), style_layers=jnp.ones(1))
FEATURES = js.make_features(("relu1_1",))
LOSS = js.make_objective(FEATURES, **LAYERS).loss
# With such an eps, a step is a smooth function of the image: a first step of Adam is else the gradient's sign.
ADAM = js.make_transfer(LOSS, optax.adam(0.02, eps=1e-2, eps_root=1e-8))
LBFGS = js.make_transfer(LOSS, lbfgs())
DEEP_FEATURES = js.make_features(("relu1_1", "relu1_2", "relu2_1"))


@cache
def targets():
    return js.make_objective(FEATURES, **LAYERS).targets(params(), picture(1), picture(2, 9, 8))


@cache
def deep_targets():
    return js.make_objective(DEEP_FEATURES, **DEEP).targets(params(), picture(1), picture(2, 9, 8))


def problem():
    return picture(0), params(), targets(), WEIGHTS


def of_transfer(runner, transfer=ADAM, **options):
    def f(image, params, targets, weights):
        state, losses = runner(transfer, transfer.init(image), params, targets, weights, **options)
        return state.picture, losses

    return f


def a_step(transfer, state, *arguments):
    return transfer.step(state, *arguments)


def sweep(transfer, image, params, targets, weights, **options):
    grid = weights._replace(beta=weights.beta * jnp.array([0.1, 1]))
    result = js.sweep(transfer, image, params, targets, grid, num_steps=2, **options)
    return result.images, result.losses


def stacked_sweep(image, params, targets, weights):
    both = [jax.tree.map(lambda *x: jnp.stack(x), part, part) for part in (targets.content, targets.style)]
    own = StackedTargets(*both, jnp.array([0, 1]), jnp.array([1, 0]))
    return sweep(ADAM, image, params, own, weights)


def implicit(image, params, targets, weights):
    # Damped, so that few iterations solve it to rounding, whatever the image is.
    found = implicit_gradient(LOSS, image, image - 0.4, params, targets, weights, damping=1.0, tolerance=1e-6)
    return found.targets.content, found.weights, found.optimality, found.remaining


def pyramid(image, params, style, weights):
    make = js.make_objective(FEATURES, **LAYERS).targets
    state, losses = run_pyramid(ADAM, make, params, image, style, weights, shapes=((4, 5), (8, 10)), num_steps=(1, 1))
    return state.image, losses


def compare_styles(name):
    statistic = style_statistic(name)

    def f(features, target):
        found = statistic.measure(features, None)
        return statistic.distance(found, statistic.to_target(statistic.measure(target, None)), convention="mean")

    return f


def values(*shape, seed=5):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=shape), jnp.float32)


def pair(h=12, w=13):
    return picture(0, h, w), picture(1, h, w)


def lpips_pair():
    return lpips_params(), *pair(32, 32)


LIKE_LOSS = {"weights": 3, "params": 1, "forward": False}
ROWS = {
    "features": Row(DEEP_FEATURES, lambda: (params(), picture(0)), image=1, params=0, forward=False),
    "features of prepare": Row(
        DEEP_FEATURES, lambda: (js.prepare(params()), picture(0)), image=1, params=0, forward=False, slow=True
    ),
    "features bfloat16": Row(
        js.make_features(("relu1_1", "relu2_1"), dtype="bfloat16"),
        lambda: (params(), picture(0)),
        image=1,
        params=0,
        forward=False,
        rounded=True,
        slow=True,
    ),
    "prepare": Row(lambda p: js.prepare({"conv2_1": p["conv2_1"]}), lambda: (params(),), image=None, params=0),
    "make_targets": Row(
        lambda *a: js.make_objective(FEATURES, **LAYERS).targets(*a),
        lambda: (params(), *pair()),
        image=1,
        params=0,
        forward=False,
    ),
    "make_loss": Row(LOSS, problem, **LIKE_LOSS),
    "make_loss of some layers": Row(
        js.make_objective(DEEP_FEATURES, **DEEP).loss,
        lambda: (picture(0), params(), deep_targets(), WEIGHTS._replace(style_layers=jnp.ones(2))),
        **LIKE_LOSS,
        slow=True,
    ),
    "transfer.init": Row(lambda x: ADAM.init(x).image, lambda: (picture(0),)),
    "transfer.step": Row(of_transfer(a_step), problem, **LIKE_LOSS),
    "transfer.step of lbfgs": Row(of_transfer(a_step, LBFGS), problem, **LIKE_LOSS, slow=True),
    "transfer.step of make_stopping": Row(
        of_transfer(a_step, make_stopping(make_averaging(ADAM))), problem, **LIKE_LOSS, slow=True
    ),
    "transfer.step of make_averaging": Row(
        of_transfer(a_step, make_averaging(make_stopping(ADAM))), problem, **LIKE_LOSS, slow=True
    ),
    "run": Row(of_transfer(js.run, num_steps=2), problem, **LIKE_LOSS, slow=True),
    "run_checkpointed": Row(of_transfer(run_checkpointed, num_steps=2), problem, **LIKE_LOSS, slow=True),
    "implicit_gradient": Row(implicit, problem, **LIKE_LOSS, slow=True),
    "run_pyramid": Row(pyramid, lambda: (picture(0), params(), picture(2, 9, 8), WEIGHTS), **LIKE_LOSS, slow=True),
    "sweep": Row(partial(sweep, ADAM), problem, **LIKE_LOSS, slow=True),
    "sweep microbatch": Row(partial(sweep, ADAM, microbatch=1), problem, **LIKE_LOSS, slow=True),
    "sweep StackedTargets": Row(stacked_sweep, problem, **LIKE_LOSS, slow=True),
    "weight_grid": Row(lambda b: js.weight_grid(alpha=[1.0, 2.0], beta=b), lambda: (values(3),)),
    "gram_matrix": Row(losses.gram_matrix, lambda: (values(5, 6, 4),)),
    "content_loss": Row(losses.feature_loss, lambda: (values(5, 6, 4), values(5, 6, 4, seed=6))),
    "style_loss": Row(losses.gram_loss, lambda: (values(4, 4), values(4, 4, seed=6))),
    "total_variation": Row(losses.total_variation, lambda: (picture(0),)),
    **{
        f"style {name}": Row(
            compare_styles(name),
            lambda: (values(5, 6, 4), values(5, 7, 4, seed=6)),
            draws=name == "sliced",
            slow=name in ("sliced", "wasserstein"),
        )
        for name in ("gram", "centered_gram", "wasserstein", "moments", "sliced", "nearest", "relaxed_emd")
    },
    "metrics.ssim": Row(metrics.ssim, pair, slow=True),
    "metrics.edge_similarity": Row(metrics.edge_similarity, pair),
    "metrics.colour_distance": Row(metrics.colour_distance, pair, slow=True),
    "metrics.lpips": Row(metrics.lpips, lpips_pair, image=1, params=0, forward=False, slow=True),
    "metrics.gram_distance": Row(metrics.gram_distance, lpips_pair, image=1, params=0, forward=False, slow=True),
    "metrics.sliced_distance": Row(metrics.sliced_distance, lpips_pair, image=1, params=0, forward=False, slow=True),
    "colour.match_colours": Row(colour.match_colours, pair, slow=True),
    "colour.with_colours_of": Row(colour.with_colours_of, pair),
    "pyramid.resize": Row(lambda x: resize(x, (5, 7)), lambda: (picture(0),), slow=True),
    "starting_image": Row(
        partial(starting_image, "statistics"),
        lambda: (picture(0), picture(1), jax.random.key(3)),
        key=2,
        image=1,
        draws=True,
        slow=True,
    ),
}


@cache
def arguments(name):
    """Made in float32, whichever cell of the row asks first."""
    with jax.enable_x64(False):
        return ROWS[name].arguments()


def wide_arguments(name):
    return tuple(a if i == ROWS[name].key else widen(a) for i, a in enumerate(arguments(name)))


@cache
def result(name):
    """What the function gives, jitted: for comparison, compiled once."""
    with jax.enable_x64(False):
        return jitted(name)(*arguments(name))


@cache
def jitted(name):
    return jax.jit(ROWS[name].function)


def close(found, wanted, tolerance=1e-4):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert a.shape == b.shape
        scale = float(np.abs(np.asarray(b, np.float64)).max())
        np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), atol=tolerance * scale + 1e-7)


def rounding(name):
    """How far apart results may be whose sums are taken in another order: a unit of bfloat16 if they are rounded."""
    return 2**-7 if ROWS[name].rounded else 1e-4


def put(args, place, value):
    return (*args[:place], value, *args[place + 1 :])


def some(tree, count=3):
    """Different values of an argument, stacked."""
    return jax.tree.map(lambda x: jnp.stack([x * (1 - 0.1 * i) for i in range(count)]), tree)


def transformed(transformation, name, place, x, others=None):
    """What a transformation of the function of one argument gives for x, jitted.

    The other arguments are the program's, too: XLA takes ten times as long where weights are its constants.
    """
    whole = arguments(name) if others is None else others  # made here, not while the function is traced
    f = ROWS[name].function
    program = jax.jit(lambda x, rest: transformation(lambda one: f(*put(rest, place, one)))(x))
    return program(x, put(whole, place, None))


@cache
def results_of(name, place, count=3):
    """The function of each of some values of an argument, one after another."""
    stacked = some(arguments(name)[place], count)
    chosen = [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(count)]
    each = [jitted(name)(*put(arguments(name), place, value)) for value in chosen]
    return jax.tree.map(lambda *x: jnp.stack(x), *each)


def first(row):
    return next(place for place in (row.image, row.weights, row.params) if place is not None)


def weighted(results, np=jnp):
    """The sum of numbers that a function gives, each with a weight of its own."""
    leaves = [y for y in jax.tree.leaves(results) if jnp.issubdtype(y.dtype, jnp.floating)]
    pattern = (np.sin(1.0 + np.arange(y.size, dtype=y.dtype)).reshape(y.shape) for y in leaves)
    return sum(np.vdot(y, p) for y, p in zip(leaves, pattern, strict=True))


def gradient_of(f, transformation=jax.grad):
    return transformation(lambda x: weighted(f(x)))


@cache
def gradient(name):
    """The gradient with respect to the first argument; neither it nor the value is NaN."""
    place = first(ROWS[name])
    with jax.debug_nans(True):
        both = partial(gradient_of, transformation=jax.value_and_grad)
        return transformed(both, name, place, arguments(name)[place])[1]


def check_vmap(name, place):
    found = transformed(jax.vmap, name, place, some(arguments(name)[place]))
    close(found, results_of(name, place), rounding(name))


def check_nested_vmap(name, row):
    place = first(row)
    four = jax.tree.map(lambda x: x.reshape(2, 2, *x.shape[1:]), some(arguments(name)[place], 4))
    wanted = jax.tree.map(lambda x: x.reshape(2, 2, *x.shape[1:]), results_of(name, place, 4))
    close(transformed(lambda f: jax.vmap(jax.vmap(f)), name, place, four), wanted, rounding(name))


def check_grad(name, row):
    """Against a finite difference in float64."""
    place = first(row)
    with jax.enable_x64(True):
        others = wide_arguments(name)
        x, random = others[place], np.random.default_rng(1)
        direction = jax.tree.map(lambda v: random.standard_normal(v.shape), x)
        found = transformed(gradient_of, name, place, x, others)
        slope = sum(np.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (found, direction)), strict=True))
        assert np.isfinite(slope)
        if not row.rounded:
            moved = (jax.tree.map(lambda v, d, t=t: v + t * d, x, direction) for t in (1e-6, -1e-6))
            up, down = (weighted(jax.device_get(jitted(name)(*put(others, place, one))), np) for one in moved)
            assert slope == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-6)


def check_jvp(name, row):
    """Where there is a forward mode it agrees with the reverse mode; where there is none, an error says so."""
    place = first(row)
    x = arguments(name)[place]
    tangent = jax.tree.map(lambda v: np.cos(np.arange(v.size, dtype=v.dtype)).reshape(v.shape), x)

    def slope_of(f):
        return lambda x: jax.jvp(lambda x: weighted(f(x)), (x,), (tangent,))[1]

    if not row.forward:
        with pytest.raises(TypeError, match="forward-mode"):
            transformed(slope_of, name, place, x)
        return
    slope = transformed(slope_of, name, place, x)
    wanted = sum(np.vdot(g, t) for g, t in zip(*map(jax.tree.leaves, (gradient(name), tangent)), strict=True))
    assert float(slope) == pytest.approx(float(wanted), rel=1e-3, abs=1e-5)


def check_checkpoint(name, row):
    place = first(row)
    again = transformed(lambda f: gradient_of(jax.checkpoint(f)), name, place, arguments(name)[place])
    close(again, gradient(name), 1e-3)


def check_lax_map(name, row):
    """Of batches, which `check_scan` has not."""
    place = first(row)
    found = transformed(lambda f: partial(lax.map, f, batch_size=2), name, place, some(arguments(name)[place], 4))
    close(found, results_of(name, place, 4))


def check_scan(name, row):
    place = first(row)
    found = transformed(lambda f: partial(lax.map, f), name, place, some(arguments(name)[place]))
    close(found, results_of(name, place))


def check_shard_map(name, row):
    place = first(row)
    mesh = Mesh(np.array(jax.devices()[:1]), ("lanes",))
    lanes = PartitionSpec("lanes")
    # check_vma: loops start from values that are the same on all devices.
    shard = partial(jax.shard_map, mesh=mesh, in_specs=lanes, out_specs=lanes, check_vma=False)
    found = transformed(lambda f: shard(jax.vmap(f)), name, place, some(arguments(name)[place]))
    close(found, results_of(name, place), rounding(name))


def check_export(name, row):
    shapes = jax.eval_shape(lambda *a: a, *arguments(name))
    # On a TPU and a GPU, lanes are held in a layout, by a call that export can't promise to keep (see `sweep`).
    layout = export.DisabledSafetyCheck.custom_call("LayoutConstraint")
    exported = export.export(jitted(name), platforms=("cpu", "cuda", "tpu"), disabled_checks=[layout])(*shapes)
    again = export.deserialize(exported.serialize())
    assert again.platforms == ("cpu", "cuda", "tpu")
    close(again.call(*arguments(name)), result(name))


def check_disable_jit(name, row):
    """What the other columns compare with is jitted."""
    with jax.disable_jit():
        close(row.function(*arguments(name)), result(name))


def check_x64(name, row):
    with jax.enable_x64(True):
        found = jitted(name)(*wide_arguments(name))
        floats = [y for y in jax.tree.leaves(found) if jnp.issubdtype(y.dtype, jnp.floating)]
        assert all(y.dtype == jnp.float64 for y in floats)
        if not row.draws:
            close(found, result(name), 2e-3)


@contextmanager
def no_promotion():
    """As flax and others test their code: nothing gets another rank or dtype without being told to."""
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield


def check_no_promotion(name, row):
    """Neither the value nor its gradient relies on implicit promotion; the shapes are those of the value."""
    args = arguments(name)
    wanted = jax.eval_shape(row.function, *args)
    with no_promotion():
        assert jax.eval_shape(row.function, *args) == wanted
        trace_gradient(name, args)


def check_no_promotion_x64(name, row):
    with jax.enable_x64(True):
        args = wide_arguments(name)
        with no_promotion():
            trace_gradient(name, args)


def trace_gradient(name, args):
    place = first(ROWS[name])
    jax.eval_shape(gradient_of(lambda x: ROWS[name].function(*put(args, place, x))), args[place])


def check_debug_nans(name, row):
    gradient(name)


def check_donation(name, row):
    """An array takes the image's memory, if one of its shape comes out; else jax says that none does."""
    image = arguments(name)[row.image]
    takes = any((y.shape, y.dtype) == (image.shape, image.dtype) for y in jax.tree.leaves(result(name)))
    mine = jnp.array(image, copy=True)
    with nullcontext() if takes else pytest.warns(UserWarning, match="donated buffers were not usable"):
        found = jax.jit(row.function, donate_argnums=row.image)(*put(arguments(name), row.image, mine))
    close(found, result(name))
    assert mine.is_deleted() == takes


def check_keys(name, row):
    """Typed keys, one or many; another key, another image."""
    keys = jax.random.split(jax.random.key(0), 2)
    found = transformed(jax.vmap, name, row.key, keys)
    assert not np.array_equal(found[0], found[1])
    for key, image in zip(keys, found, strict=True):
        close(image, jitted(name)(*put(arguments(name), row.key, key)))


def check_bfloat16_params(name, row):
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), arguments(name)[row.params])
    found = jax.jit(row.function)(*put(arguments(name), row.params, half))
    for a, b in zip(*(jax.tree.leaves(widen(tree)) for tree in (found, result(name))), strict=True):
        assert np.linalg.norm(a - b) <= 0.05 * np.linalg.norm(b)


def check_nnx_jit(name, row):
    close(flax.nnx.jit(row.function)(*arguments(name)), result(name))


def check_equinox(name, row):
    equinox = pytest.importorskip("equinox", reason="equinox is not installed: pip install equinox")
    close(equinox.filter_jit(row.function)(*arguments(name)), result(name))


def check_abstract(name, row):
    """No value is looked at, so that nothing waits for the device; and shapes come out as they do of values."""
    shapes = jax.eval_shape(row.function, *jax.eval_shape(lambda *a: a, *arguments(name)))
    wanted = jax.eval_shape(lambda x: x, result(name))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), shapes) == jax.tree.map(lambda x: (x.shape, x.dtype), wanted)


def check_one_trace(name, row):
    traces = []

    def counted(*args):
        traces.append(1)
        return row.function(*args)

    f = jax.jit(counted)
    for place in (row.image, row.weights, row.params):
        if place is not None:
            changed = jax.tree.map(lambda x: x / 2, arguments(name)[place])
            f.trace(*put(arguments(name), place, changed))
    f.trace(*arguments(name))
    assert len(traces) == 1


def applies(row, column):
    """Whether there is anything to test in a cell of the table."""
    match column:
        case "vmap image" | "donation":
            return row.image is not None
        case "vmap weights":
            return row.weights is not None
        case "vmap params" | "bfloat16 params":
            return row.params is not None
        case "keys":
            return row.key is not None
        case "x64":
            return not row.rounded  # to bfloat16, whatever comes in
        case "nnx.jit" | "equinox.filter_jit":
            return not row.slow  # they take arguments apart and call jit: the quick rows have all kinds of arguments
        case "nested vmap" | "lax.map":
            return not row.slow  # what they are made of, `vmap` and `scan`, has cells of its own
    return True


COLUMNS = {
    "vmap image": lambda name, row: check_vmap(name, row.image),
    "vmap weights": lambda name, row: check_vmap(name, row.weights),
    "vmap params": lambda name, row: check_vmap(name, row.params),
    "nested vmap": check_nested_vmap,
    "grad": check_grad,
    "jvp": check_jvp,
    "checkpoint": check_checkpoint,
    "lax.map": check_lax_map,
    "scan": check_scan,
    "shard_map": check_shard_map,
    "export": check_export,
    "disable_jit": check_disable_jit,
    "x64": check_x64,
    "no promotion": check_no_promotion,
    "no promotion x64": check_no_promotion_x64,
    "debug_nans": check_debug_nans,
    "donation": check_donation,
    "keys": check_keys,
    "bfloat16 params": check_bfloat16_params,
    "nnx.jit": check_nnx_jit,
    "equinox.filter_jit": check_equinox,
    "abstract values": check_abstract,
    "one trace": check_one_trace,
}


CHEAP = ("abstract values", "one trace", "keys", "no promotion", "no promotion x64")
CELLS = [
    pytest.param(
        name,
        column,
        marks=[pytest.mark.xdist_group(f"composes {name}")]
        + ([pytest.mark.slow] if row.slow and column not in CHEAP else []),
    )
    for name, row in ROWS.items()
    for column in COLUMNS
    if applies(row, column)
]


MIXED = {
    "whole weights": lambda x, p, t, w: LOSS(x, p, t, js.LossWeights(jnp.int32(1), 2, style_layers=np.ones(1, int))),
    "params in bfloat16": lambda x, p, t, w: LOSS(x, cast(p, jnp.bfloat16), t, w),
    "targets in bfloat16": lambda x, p, t, w: LOSS(x, p, cast(t, jnp.bfloat16), w),
    "image in bfloat16": lambda x, p, t, w: LOSS(cast(x, jnp.bfloat16), p, t, w),
    "masks of booleans": lambda x, p, t, w: LOSS(x, p, masked_targets(p, x, np.ones((2, 8, 10), bool)), w),
    "lpips": lambda x, *_: metrics.lpips(cast(lpips_params(), jnp.bfloat16), *pair(32, 32)),
    "match_colours": lambda x, *_: colour.match_colours(cast(x, jnp.float16), x),
    "with_colours_of": lambda x, *_: colour.with_colours_of(cast(x, jnp.float16), x),
    "colour_distance": lambda x, *_: metrics.colour_distance(cast(x, jnp.float16), x),
    **{
        f"style {name}": lambda x, *_, name=name: compare_styles(name)(cast(x, jnp.bfloat16), x)
        for name in ("gram", "centered_gram", "wasserstein", "moments", "sliced", "nearest", "relaxed_emd")
    },
}


def cast(tree, dtype):
    return jax.tree.map(lambda x: x.astype(dtype), tree)


def masked_targets(p, x, masks):
    return js.make_objective(FEATURES, **LAYERS).targets(p, x, [x, x], masks=(masks, [masks, masks]))


@pytest.mark.parametrize("name", MIXED)
def test_dtypes_that_differ_meet_in_the_wider_one(name):
    """Whatever promotions a program allows."""
    lpips_params()  # kept for other tests, so not first made while a function is traced
    wanted = jax.eval_shape(MIXED[name], *problem())
    with no_promotion():
        assert jax.eval_shape(MIXED[name], *problem()) == wanted
    assert {x.dtype for x in jax.tree.leaves(wanted)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(("name", "column"), CELLS)
def test_composes(name, column):
    COLUMNS[column](name, ROWS[name])
