"""Compile for TPUs that aren't there; test_plan_lanes.py runs this in a process of its own."""

import os
import re
import sys

from jaxstyle.app.commands.plan import ENVIRONMENT

os.environ.update(ENVIRONMENT)

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding

from jaxstyle.app.planning import machine, plan_lanes
from jaxstyle.network.layers import CONTENT_LAYERS, STYLE_LAYERS


def check_memory(name):
    found = machine.topology(name)
    huge = jax.ShapeDtypeStruct((2**40,), jnp.float32, sharding=SingleDeviceSharding(found.devices[0]))
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED") as raised:
        jax.jit(lambda x: x * 2).lower(huge).compile()
    granted = re.search(r"available HBM \(([\d.]+)G\)", str(raised.value))
    assert granted is not None, raised.value
    assert found.memory == int(float(granted[1]) * 2**30), (name, granted[1])


def check_sixteen_chips():
    request = plan_lanes.Request(
        64, 32, 1, "bfloat16", "lbfgs", "mean", "gram", ("relu1_2",), ("relu1_1",), "max", "zero", "random:0"
    )
    found = machine.topology("v5e:4x4")
    assert len(found.devices) == 16
    compiled = plan_lanes._compile(plan_lanes.make_problem(request, found), found, 2, 1)
    assert (compiled.lanes, compiled.fits, compiled.collectives) == (32, True, 0)


def check_a_thousand_lanes_of_512_pixels_on_a_chip():
    request = plan_lanes.Request(
        512, 1024, 8, "bfloat16", "adam", "mean", "gram", CONTENT_LAYERS, STYLE_LAYERS, "max", "zero", "random:0"
    )
    found = machine.topology("v5e:1x1")
    compiled = plan_lanes._compile(plan_lanes.make_problem(request, found), found, 1024, 8)
    assert compiled.fits
    state = 1024 * 3 * 512 * 512 * 3 * 4
    assert compiled.aliased >= state
    assert compiled.temporary < 0.5 * state  # a group's features and gradients fit, a second state doesn't


if __name__ == "__main__":
    if sys.argv[1:] == ["512"]:
        check_a_thousand_lanes_of_512_pixels_on_a_chip()
    else:
        for name in machine.TOPOLOGIES:
            check_memory(name)
        check_sixteen_chips()
