"""Describe the machine that a plan is for, perhaps a TPU that isn't there: its devices, their memory and speed."""

import importlib.util
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from jaxstyle.app.system.devices import find_devices
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.memory import TPU_MEMORY, device_memory
from jaxstyle.app.system.screen import silent_stderr

TOPOLOGIES: tuple[str, ...] = ("v5e:1x1", "v5e:2x2", "v5e:4x4", "v6e:2x2", "v5p:2x2x1", "v4:2x2x1", "tpu7x:2x2x1")
"""Examples of what `--topology` takes, which is a TPU's generation and the grid of its chips."""


class Speed(NamedTuple):
    """What a roofline estimate assumes about a device.

    Attributes:
      flops: its speed in matrix products, FLOP/s.
      bandwidth: its memory's bandwidth, bytes/s.
      forward: how many products the device computes for one product of the network's forward pass.
      backward: the same for the backward pass.
      source: where these numbers come from.
    """

    flops: float
    bandwidth: float
    forward: int
    backward: int
    source: str


class Machine(NamedTuple):
    """Devices of one kind.

    Attributes:
      devices: real devices, or devices of a topology, for which programs can only be compiled.
      kind: the name of the devices.
      memory: how many bytes programs may use on each.
      memory_source: where that number comes from.
      present: whether a program can run there.
      speed: the function that gives the speed of a device for a dtype of the features; None: nobody knows it.
    """

    devices: list[Any]
    kind: str
    memory: int
    memory_source: str
    present: bool
    speed: Callable[[str], Speed] | None


_GIB = 2**30
_TPUS: dict[str, tuple[float, float]] = {
    "TPU v2": (22.5e12, 350e9),
    "TPU v3": (61.5e12, 450e9),
    "TPU v4": (137.5e12, 600e9),
    "TPU v5 lite": (197e12, 819e9),
    "TPU v5": (459e12, 2765e9),
    "TPU v6 lite": (918e12, 1638e9),
    "TPU7x": (1153.5e12, 3690e9),
}
"""FLOP/s in bfloat16 and bytes/s by the kind of a topology's devices. A device is half a chip for v2, v3, v4 and 7x.
The numbers are from Google Cloud's documentation of the TPU versions, and for v2 and v3 from Jouppi et al., CACM 63(7),
2020."""

# How many products in bfloat16 make one product of the features' dtype, forward and backward (see
# `network.convolution.conv3x3`). float32 at full precision takes six on a TPU (XLA's documentation of operand
# precision: bf16_6x).
_TPU_PRODUCTS = {"float32": (6, 6), "tensorfloat32": (6, 6), "bfloat16": (1, 1), "bfloat16_3x": (3, 1)}


_GRANTED = 0.75  # of a GPU's memory, unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise
_TIMED = {"cpu": (2048, 2**25), "accelerator": (8192, 2**28)}
"""Side of the matrix and length of the array to time. On an accelerator they are so large that calls take no part."""


def topology(name: str) -> Machine:
    """Describe the TPU of that name, for which libtpu compiles without having one.

    Raises:
      StartError: if libtpu isn't installed, or doesn't know the name.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise StartError('--topology needs the TPU compiler libtpu: pip install "jaxstyle[plan]"')
    try:
        if ":" not in name:  # libtpu accepts an empty name
            raise ValueError("INVALID_ARGUMENT")
        with silent_stderr():
            devices = list(topologies.get_topology_desc(platform="tpu", topology_name=name).devices)
    except Exception as error:
        if "INVALID_ARGUMENT" not in str(error):
            raise
        raise StartError(
            f"unknown topology {name!r}; valid are a TPU's generation and grid of chips, as {', '.join(TOPOLOGIES)}"
        ) from error
    kind = devices[0].device_kind
    if kind not in _TPUS:
        raise StartError(f"topology {name!r} has devices {kind!r}, whose memory is unknown; known: {', '.join(_TPUS)}")
    flops, bandwidth = _TPUS[kind]

    def speed(dtype: str) -> Speed:
        forward, backward = _TPU_PRODUCTS[dtype]
        return Speed(flops, bandwidth, forward, backward, "the TPU's documented peak in bfloat16 products")

    memory = int(TPU_MEMORY[kind] * _GIB)
    return Machine(devices, kind, memory, "what the TPU's compiler grants a program", False, speed)


def present() -> Machine:
    """Describe the devices that jax finds here.

    Raises:
      StartError: if nobody knows how much memory they have.
    """
    devices = find_devices()
    on_cpu = devices[0].platform == "cpu"
    found = device_memory(devices[0])
    memory = found.free // (len(devices) if on_cpu else 1)
    if not memory:
        raise StartError(f"nobody knows the memory of {devices[0].device_kind}; give a --topology")
    return Machine(devices, devices[0].device_kind, memory, found.source, True, partial(_measure_speed, on_cpu=on_cpu))


def of_memory(memory: int) -> Machine:
    """Describe a GPU of so many bytes that isn't here, for which programs are compiled as for this CPU.

    What a lane needs is an estimate: a GPU's compiler fuses otherwise, and its convolutions take memory of their own. A
    CPU's program holds a bfloat16 network in float32, so that more lanes fit than it says: on an H200, 32 lanes of
    512x512 pixels took 3.3 GB beside their state, and this says 10.1.
    """
    granted = int(_GRANTED * memory)
    source = f"{_GRANTED:.0%} of what was given, as jax takes by default; an estimate from a program for this CPU"
    return Machine(jax.devices("cpu")[:1], "GPU that is not here", granted, source, False, None)


def _measure_speed(dtype: str, *, on_cpu: bool) -> Speed:
    """Measure the default device by the best of three runs of a matrix product, and of adding to a large array.

    Convolutions with features of this dtype consist of the products that are timed (see `network.convolution.conv3x3`):
    in float32 at full precision, in TF32, or in bfloat16. On a CPU they are always float32. NVIDIA's data sheet of the
    H100 (SXM, dense) has 67 TFLOP/s in float32, 495 in TF32 and 989 in bfloat16.
    """
    kind = "float32" if on_cpu else dtype
    of_operands = "bfloat16" if kind.startswith("bfloat16") else "float32"
    side, count = _TIMED["cpu" if on_cpu else "accelerator"]
    matrix = jnp.ones((side, side), of_operands)
    array = jnp.ones((count,), jnp.float32)
    precision = "high" if kind == "tensorfloat32" else "highest"
    multiply = partial(jnp.dot, precision=precision, preferred_element_type=jnp.float32)
    product = _best_time(jax.jit(lambda a: multiply(a, a)), matrix)
    pass_over = _best_time(jax.jit(lambda a: a + 1), array)
    forward, backward = (3, 1) if kind == "bfloat16_3x" else (1, 1)
    timed = kind if kind == "tensorfloat32" else of_operands
    source = f"a matrix product in {timed} and a pass over an array, timed just now"
    return Speed(2 * side**3 / product, 2 * array.nbytes / pass_over, forward, backward, source)


def _best_time(function: Any, argument: jax.Array) -> float:
    jax.block_until_ready(function(argument))
    times = []
    for _ in range(3):
        began = time.perf_counter()
        jax.block_until_ready(function(argument))
        times.append(time.perf_counter() - began)
    return min(times)
