"""Calls of every public function, with all annotated shapes and types checked; run by test_shapes.py.

By jaxtyping's import hook, which has to come before jaxstyle is imported: hence a process of its own.
"""

import sys
import typing
from functools import partial, wraps

import jax
import jax.numpy as jnp
import numpy as np
import optax
from beartype import beartype
from beartype.door import is_bearable
from jax.sharding import AxisType
from jaxtyping import TypeCheckError, install_import_hook, jaxtyped

CALLED = set()
SEEN = set()


def checker(function):
    """What the hook decorates every function of the package with: beartype, and a note of what has been called."""
    checked = beartype(function)
    if "<locals>" not in function.__qualname__:
        SEEN.add(f"{function.__module__}.{function.__qualname__}")

    @wraps(checked)
    def noted(*args, **kwargs):
        CALLED.add(f"{function.__module__}.{function.__qualname__}")
        return checked(*args, **kwargs)

    return noted


def check_leaves(tree):
    """Compare the fields of every NamedTuple of jaxstyle in a result with their annotations, axes of one name alike."""
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        if type(tree).__module__.startswith("jaxstyle."):
            hints = typing.get_type_hints(type(tree), include_extras=True)
            with jaxtyped("context"):
                for name, value in tree._asdict().items():
                    wrong = f"{type(tree).__name__}.{name} is no {hints[name]}: {jax.tree.map(jnp.shape, value)}"
                    assert is_bearable(value, hints[name]), wrong
            CALLED.add(f"{type(tree).__module__}.{type(tree).__qualname__}")
        for value in tree:
            check_leaves(value)
    elif isinstance(tree, tuple | list):
        for value in tree:
            check_leaves(value)
    elif isinstance(tree, dict):
        for value in tree.values():
            check_leaves(value)


def call(function, *args, **kwargs):
    found = function(*args, **kwargs)
    check_leaves(found)
    return found


def trace(function, *args):
    """`call` with the shapes of the arguments alone, as under jit."""
    return jax.eval_shape(partial(call, function), *args)


def table():
    """Every row of the table of compositions: as it is, under jit and under vmap."""
    from tests.library.test_compositions import ROWS, arguments, put, some

    for name, row in ROWS.items():
        whole = arguments(name)
        try:
            if not row.slow:
                call(row.function, *whole)
            trace(row.function, *whole)
            places = [place for place in (row.image, row.weights, row.params) if place is not None]
            for place in places[:1] if row.slow else places:
                mapped = jax.vmap(partial(call, row.function), put((None,) * len(whole), place, 0))
                jax.eval_shape(mapped, *put(whole, place, some(whole[place])))
        except Exception as error:
            error.add_note(f"in the row {name!r}")
            raise


LAYERS = {"content_layers": ("relu1_2",), "style_layers": ("relu1_1", "relu2_1")}
NAMES = ("relu1_1", "relu1_2", "relu2_1")


def pictures():
    content, style = jax.random.uniform(jax.random.key(0), (2, 16, 18, 3))
    return content, style[:12]


def objectives(params):
    import jaxstyle as js
    from jaxstyle.network.features import smallest_side
    from jaxstyle.network.hypercolumns import add_hypercolumns
    from jaxstyle.optimise.pyramid import mix
    from jaxstyle.parallel.stacked_targets import match_lanes

    content, style = pictures()
    features = js.make_features(NAMES, pooling="average", padding="replicate")
    for dtype in ("bfloat16", "bfloat16_3x"):
        trace(js.make_features(("relu1_1", "relu2_1"), dtype=dtype, pooling="scaled_average"), params, content)
    framed = js.make_features(("relu1_2",), padding="replicate")
    trace(jax.grad(lambda x: framed(params, x)["relu1_2"].sum()), content)

    masks = jnp.stack([jnp.ones((16, 18)), jnp.zeros((16, 18)).at[4:].set(1)])
    of_style = np.ones((2, 12, 18), np.float32)
    for name in ("gram", "centered_gram", "wasserstein", "moments", "sliced", "nearest", "relaxed_emd", "matched"):
        objective = js.make_objective(features, **LAYERS, content_loss="self_similarity", style_loss=name)
        targets = trace(partial(objective.targets, masks=(masks, of_style)), params, content, style)
        trace(objective.loss, content, params, targets, js.LossWeights())
    kept = trace(objective.match, trace(mix, content, content, jnp.float32(0.5)), params, targets)
    trace(objective.loss, content, params, kept, js.LossWeights())

    columns = call(add_hypercolumns, js.make_features(("relu1_1", "relu2_1")), ("relu1_1", "relu2_1"))
    trace(columns, params, content)

    shallow = js.make_features(("relu1_1",))
    layers = {"content_layers": ("relu1_1",), "style_layers": ("relu1_1",)}
    objective = js.make_objective(shallow, **layers)
    several = call(objective.targets, params, np.asarray(content), [style, np.asarray(content)])
    weights = js.LossWeights(1, 2.0, jnp.float32(0), style_mix=np.array([0.5, 0.5]))
    check_leaves(weights)
    trace(objective.terms, content, params, several, weights)
    call(js.stack_targets, [several, several], style=[0, 0])
    matching = js.make_objective(shallow, **layers, style_loss="matched")
    several = call(matching.targets, params, content, [style, np.asarray(content)])
    of_lanes = call(js.stack_targets, [several, several], style=[0, 0])
    mixes = mix(content, jnp.stack([content, content]), jnp.array([0.0, 1.0]))
    trace(partial(match_lanes, matching.match), mixes, params, of_lanes)
    assert call(smallest_side, shallow, params, ("relu1_1",)) == 2


def transfers(params):
    import jaxstyle as js
    from jaxstyle.objective import weight_defaults
    from jaxstyle.optimise.averaging import make_averaging
    from jaxstyle.optimise.lbfgs import lbfgs
    from jaxstyle.optimise.pyramid import carry
    from jaxstyle.optimise.stopping import make_stopping
    from jaxstyle.optimise.transfer import run_chunk
    from jaxstyle.parallel.hyperparams import set_hyperparams
    from jaxstyle.parallel.lanes import make_lanes
    from jaxstyle.parallel.microbatch_size import default_microbatch, device_microbatch
    from jaxstyle.parallel.weight_grid import pad_lanes

    content, style = pictures()
    features = js.make_features(NAMES)
    loss = js.make_objective(features, **LAYERS).loss
    targets = trace(js.make_objective(features, **LAYERS).targets, params, content, style)
    grid = call(js.weight_grid, beta=[0.1, 1.0, 10.0])
    adam = js.make_transfer(loss, optax.adam(0.02))
    for kind in (adam, make_stopping(adam), js.make_transfer(loss, lbfgs())):
        many = make_lanes(kind, grid, microbatch=2)
        state = trace(many.init, jnp.stack([content] * 3))
        trace(partial(js.run, many, num_steps=2), state, params, targets, grid)
        trace(partial(run_chunk, many, capacity=2), state, params, targets, grid, jnp.int32(1))
    rated = make_lanes(js.make_transfer(loss, optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)), grid)
    trace(lambda x: set_hyperparams(rated.init(x), {"learning_rate": 0.2}), jnp.stack([content] * 3))
    style_loss = weight_defaults.default_style_loss("mean")
    assert weight_defaults.weight_defaults("mean", style_loss).betas
    assert weight_defaults.default_layer_weights("mean", style_loss, weight_defaults.default_style_layers(style_loss))
    assert device_microbatch(16 * 18, jax.devices("cpu")[0]) == default_microbatch(16 * 18, None)
    mesh = jax.make_mesh((1,), ("rows",), axis_types=(AxisType.Auto,))
    trace(partial(js.sweep, adam, num_steps=1, mesh=mesh), content, params, targets, grid)
    assert trace(lambda w: pad_lanes({"beta": w.beta}, 4), grid)["beta"].shape == (4,)
    for one in (adam, make_stopping(adam), make_averaging(adam)):
        trace(lambda x, one=one: carry(one, one.init(x), (20, 24), detail=x), content)
    sharded = js.shard_rows(adam, mesh)
    trace(sharded.step, trace(adam.init, js.split_rows(content, mesh)), params, targets, js.LossWeights())


def judges():
    import jaxstyle as js
    from jaxstyle import colour
    from jaxstyle.evaluate import cross_validation, even_levels, select, similarity
    from jaxstyle.evaluate.style_distances import halve

    content, style = pictures()
    lpips = js.load_lpips("alex")
    images = jnp.zeros((66, 32, 32, 3))
    trace(js.metrics.measure, lpips, images[0], images[1], images[2, :, :31].repeat(2, 1))
    trace(js.metrics.lpips_frechet, lpips, images, images, images[:65, :, :31].repeat(2, 2))
    betas = call(even_levels.wide_betas, 10.0, 5)
    curve = call(even_levels.fit_curve, betas, [0.0, 0.1, 0.4, 0.6, 0.6])
    check_leaves(curve)
    call(even_levels.place_levels, curve, [0.0, 0.5, 1.0], progress=0.5, end=even_levels.saturation(curve))
    assert even_levels.correct_levels([0.0, 0.5, 1.0], [1.0, 2.0, 8.0], np.array([0.1, 0.2, 0.6]), 1).keys() == {1}
    trace(halve, content)
    trace(colour.match_luminance, style, content)
    trace(colour.of_luminance(similarity.ssim), content, content)

    losses = [[1.0, 2.0], [2.0, 1.0]], np.array([[2.0, 1.0], [1.0, 2.0]])
    assert call(cross_validation.cross_validate, *losses, content_weight=0.5).fold.tolist() == [0, 1]
    assert select.knee(jnp.array([0.0, 0.2, 1.0]), [1.0, 0.2, 0.0]) == 1
    assert select.pareto_front([0.0, 1.0], [1.0, 2.0]).tolist() == [True, False]


def further():
    """What is public and not in the table."""
    from jaxstyle.common import file_kinds
    from jaxstyle.network import activations, convolution, winograd
    from jaxstyle.optimise import initial_images, pyramid_sizes
    from tests.library.test_compositions import params as table_params

    params = table_params()
    objectives(params)
    transfers(params)
    judges()

    content, style = pictures()
    for start in initial_images.STARTS:
        key = jax.random.PRNGKey(0) if start == "noise" else jax.random.key(0)
        trace(partial(initial_images.starting_image, start), content, style, key)
    trace(activations.max_pool, content)
    x, kernel = jnp.ones((9, 10, 16)), jnp.ones((3, 3, 16, 32))
    trace(jax.grad(lambda x: convolution.conv3x3(x, kernel, backend="winograd").sum()), x)
    check_leaves(winograd._transforms(4))
    assert len(pyramid_sizes.steps_of(pyramid_sizes.scales((64, 48), smallest=16, least=8))) == 3
    file_kinds.recognise(b"GIF89a")
    assert file_kinds.describe_address("photo.jpg") is None


def what_is_wrong():
    """The checks are alive: each of these is caught."""
    from jaxstyle.network import vgg_features
    from jaxstyle.objective import losses, objective

    features = jnp.ones((4, 5, 3))
    calls = {
        "a mask of another size": lambda: losses.gram_matrix(features, jnp.ones((4, 4))),
        "two axes": lambda: losses.gram_matrix(features[0]),
        "integers": lambda: losses.total_variation(jnp.ones((4, 5, 3), int)),
        "four channels": lambda: vgg_features.make_features(("relu1_1",))({}, jnp.ones((4, 5, 4))),
        "a wrong leaf": lambda: check_leaves(objective.Losses(*jnp.ones((3, 2)), jnp.ones(3))),
        "a wrong dtype": lambda: check_leaves(objective.Losses(*jnp.ones((4, 2), int))),
    }
    for what, wrong in calls.items():
        try:
            wrong()
        except (TypeCheckError, AssertionError):
            continue
        sys.exit(f"nothing was raised for {what}")


def uncalled():
    """Public functions that nothing above has called, but for those that read files, and a protocol's."""
    public = {name for name in SEEN if not any(part.startswith("_") for part in name.split("."))}
    left_out = ("jaxstyle.app.", "jaxstyle.pretrained.", "jaxstyle.optimise.transfer_state.State.")
    return sorted(name for name in public - CALLED if not name.startswith(left_out))


if __name__ == "__main__":
    install_import_hook("jaxstyle", "tests.checked_calls.checker")
    from tests import checked_calls  # the module whose checker the hook knows, not __main__

    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        checked_calls.further()
    checked_calls.table()
    checked_calls.what_is_wrong()
    print("\n".join(checked_calls.uncalled()))
