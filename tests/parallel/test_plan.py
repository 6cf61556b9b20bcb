"""Plans: what the compiler says that a sweep needs, for arrays or for their shapes alone."""

import importlib.util
from functools import partial

import jax
import numpy as np
import optax
import pytest
from jax.experimental import topologies
from jax.sharding import Mesh

import jaxstyle as js
from jaxstyle.parallel.sweep_program import run_lanes

LAYERS = {"content_layers": "relu1_1", "style_layers": "relu1_1"}
GRID = js.weight_grid(beta=[0.1, 1.0, 10.0, 100.0, 1000.0])
NEED_LIBTPU = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu")


@pytest.fixture(scope="module")
def operands(params, content, style):
    objective = js.make_objective(js.make_features(("relu1_1",)), **LAYERS)
    transfer = js.make_transfer(objective.loss, optax.adam(0.02))
    return transfer, content[:16, :16], params, objective.targets(params, content[:16, :16], style[:16, :16]), GRID


def test_a_plan_is_of_the_program_of_the_sweep(operands):
    transfer, start, *others = operands
    found = js.plan(*operands, num_steps=3)
    images = np.broadcast_to(start, (5, *start.shape))
    compiled = jax.jit(partial(run_lanes, transfer, 3, None, None, 5)).lower(images, *others, {}).compile()
    memory = compiled.memory_analysis()
    assert found.temporary == memory.temp_size_in_bytes
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.generated_code_size_in_bytes
    assert found.peak == held + found.temporary - found.aliased
    assert found.microbatch is None
    assert found.collectives == 0


def test_shapes_are_enough(operands):
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), operands[1:])
    assert js.plan(operands[0], *shapes, num_steps=2) == js.plan(*operands, num_steps=2)


def test_a_state_is_a_start(operands):
    transfer, start, *others = operands
    result = jax.eval_shape(partial(js.sweep, transfer, num_steps=1), start, *others)
    found = js.plan(transfer, result.state, *others, num_steps=2)
    assert found.peak > js.plan(*operands, num_steps=2).peak  # the moments of the optimiser are arguments, too


def test_groups_take_less_memory(operands):
    peaks = [js.plan(*operands, num_steps=2, microbatch=each).temporary for each in (1, 2, None)]
    assert sorted(peaks) == peaks
    assert peaks[0] < peaks[-1] / 2
    assert js.plan(*operands, num_steps=2, microbatch="auto").microbatch == 8 * 128 * 128 // 16**2


def test_a_mesh_of_the_only_device_needs_as_much(operands):
    mesh = Mesh(np.array(jax.devices()[:1]), ("lanes",))
    found, alone = (js.plan(*operands, num_steps=2, mesh=m) for m in (mesh, None))
    assert found.peak == pytest.approx(alone.peak, rel=0.02)


@NEED_LIBTPU
def test_devices_that_are_not_there(operands):
    devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices
    found = js.plan(*operands, num_steps=2, mesh=Mesh(np.array(devices), ("lanes",)))
    assert 0 < found.peak < 16e9


def test_wrong_arguments_are_those_of_sweep(operands):
    transfer, start, *others = operands
    for wrong, line in [
        (
            (transfer, start[None], *others),
            r"^image must have shape \(h, w, 3\) or \(5, h, w, 3\), got \(1, 16, 16, 3\)",
        ),
        ((transfer, start, *others[:2], js.LossWeights()), "lane"),
        ((None, start, *others), "^transfer must be"),
    ]:
        for function in (js.plan, js.sweep):
            with pytest.raises((ValueError, TypeError), match=line):
                function(*wrong, num_steps=1)
