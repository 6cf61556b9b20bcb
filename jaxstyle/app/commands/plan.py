"""The command `jaxstyle plan`: its options and its table. It imports jax only once the options are read."""

import argparse
import json
import os
import re
from typing import Any

from jaxstyle.app.commands.options import add_debug, as_argument, positive
from jaxstyle.app.settings.settings import AUTO_DTYPE, DEFAULT_SIZE
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.screen import say
from jaxstyle.network.layers import CONTENT_LAYERS, DTYPES, PADDINGS, POOLINGS
from jaxstyle.objective.weight_defaults import (
    COMBINED_STYLE_LOSSES,
    STYLE_LOSSES,
    default_style_layers,
    default_style_loss,
)

ENVIRONMENT: dict[str, str] = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",  # There is no metadata server to ask.
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # Compiling takes no TPU for itself.
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
}
"""Variables that must be set before jax is imported, to compile for a topology."""


def add_plan(commands: Any) -> None:
    """Add the parser of `jaxstyle plan`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "plan",
        help="how many lanes fit on a machine and what a step costs, by compiling",
        description="Say how many lanes of one picture size fit into a machine's memory and what a step costs, by "
        "compiling the step (at most three times), not running it: for the devices present or for a TPU that is not.",
    )
    add = parser.add_argument
    add(
        "--topology",
        metavar="NAME",
        help='a TPU, as v5e:2x2; needs pip install "jaxstyle[plan]" (default: what is here)',
    )
    add(
        "--memory",
        type=as_argument(_parse_memory),
        metavar="SIZE",
        help="a GPU of that memory, as 24GB (an estimate)",
    )
    add("--size", type=positive, default=DEFAULT_SIZE, metavar="PX", help=f"side in pixels (default: {DEFAULT_SIZE})")
    add("--rows", action="store_true", help="plan one picture whose rows all devices share: how large it can be")
    add("--lanes", type=positive, metavar="N", help="lanes on all devices (default: one group on each)")
    add("--microbatch", type=positive, metavar="N", help="lanes computed at once on a device (default: by device)")
    add("--dtype", choices=(AUTO_DTYPE, *DTYPES), default=AUTO_DTYPE, metavar="NAME", help="as of jaxstyle sweep")
    add("--optimizer", default="lbfgs", metavar="NAME", help="lbfgs or adam, which keeps least (default: lbfgs)")
    add("--convention", default="mean", metavar="NAME", help="scaling of the losses (default: mean)")
    add("--style-loss", choices=STYLE_LOSSES + COMBINED_STYLE_LOSSES, metavar="NAME", help="as of jaxstyle sweep")
    add("--content-layers", nargs="+", default=CONTENT_LAYERS, metavar="LAYER", help="as of jaxstyle sweep")
    add("--style-layers", nargs="+", metavar="LAYER", help="as of jaxstyle sweep")
    add("--pooling", choices=POOLINGS, default="max", help="pooling of the network (default: max)")
    add(
        "--padding",
        choices=PADDINGS,
        default="replicate",
        help="what convolutions see outside of the image (default: replicate)",
    )
    add("--weights", default="bundled", metavar="SET", help="weight set whose shapes count (default: bundled)")
    add("--json", action="store_true", help="print one JSON object instead of a table")
    add_debug(parser)
    parser.set_defaults(command=_plan)


def _plan(args: argparse.Namespace) -> None:
    if args.topology is not None:
        os.environ.update(ENVIRONMENT)
        os.environ.pop("JAX_PLATFORM_NAME", None)
    from jaxstyle.app.planning import machine, plan_image_rows, plan_lanes
    from jaxstyle.app.system.devices import fast_dtype

    if args.rows and (args.lanes or args.microbatch):
        raise StartError("--rows is for one picture: leave --lanes and --microbatch out")
    if args.memory and (args.rows or args.topology):
        raise StartError("--memory is for lanes on one GPU: leave --rows and --topology out")
    options: dict[str, Any] = {name: vars(args)[name] for name in plan_lanes.Request._fields}
    options["style_loss"] = args.style_loss or default_style_loss(args.convention)
    options["style_layers"] = args.style_layers or default_style_layers(options["style_loss"])
    for name in ("content_layers", "style_layers"):
        options[name] = tuple(options[name])
    if args.memory:
        found = machine.of_memory(args.memory)
    else:
        found = machine.present() if args.topology is None else machine.topology(args.topology)
    if args.dtype == AUTO_DTYPE:
        options["dtype"] = "bfloat16" if args.memory else fast_dtype(found.devices[0])
    request = plan_lanes.Request(**options)
    make = plan_image_rows.make_rows_plan if args.rows else plan_lanes.make_plan
    result = {"topology": args.topology, **make(request, found)}
    entries = _describe_picture(result) if args.rows else _describe_lanes(result)
    say(json.dumps(result, indent=2) if args.json else "\n".join(_align(entries)))


def _parse_memory(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?GB", text, re.IGNORECASE)
    if not match or not float(match[1]):
        raise StartError(f"must be a number of GB, as 24GB, got {text}")
    return int(float(match[1]) * 10**9)


def _align(entries: list[tuple[str, str]]) -> list[str]:
    """Return the lines of a table of names and values."""
    width = max(len(name) for name, _ in entries)
    return [f"{name:{width}}  {value}" for name, value in entries]


def _describe_machine(plan: dict[str, Any]) -> list[tuple[str, str]]:
    name = f"{plan['devices']} x {plan['device_kind']}" + (f" ({plan['topology']})" if plan["topology"] else "")
    return [
        ("machine", name),
        ("memory of a device", f"{_bytes(plan['memory_per_device'])}: {plan['memory_source']}"),
    ]


def _peak(plan: dict[str, Any]) -> str:
    return _bytes(plan["peak_bytes_per_device"]) + ("" if plan["fits"] else ": more than it has")


def _describe_picture(plan: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the names and values that are shown for one picture whose rows all devices share."""
    most = "none of those compiled: take a smaller --size"
    if plan["max_size"]:
        side, peak = plan["max_size"], _bytes(plan["max_size_peak_bytes_per_device"])
        most = f"{side}x{side}, with {peak} on each device"
    return [
        *_describe_machine(plan),
        (
            "compiled step",
            f"one picture of {plan['size']}x{plan['size']}, its rows shared by all devices, {plan['dtype']}, "
            f"{plan['optimizer']}",
        ),
        ("peak memory of a device", _peak(plan)),
        ("largest square picture that fits", most),
        ("operations between devices", _collectives(plan)),
        ("compilations", ", ".join(f"{c['size']}x{c['size']} {c['seconds']:.0f} s" for c in plan["compilations"])),
    ]


def _describe_lanes(plan: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the names and values that are shown for lanes."""
    accessed = plan["bytes_accessed_per_lane_step"]
    return [
        *_describe_machine(plan),
        (
            "compiled step",
            f"{plan['lanes']} lanes of {plan['size']}x{plan['size']}, groups of {plan['microbatch']} on each device, "
            f"{plan['dtype']}, {plan['optimizer']}",
        ),
        ("peak memory of a device", _peak(plan)),
        ("of it for each lane of a group", _bytes(plan["bytes_per_lane"])),
        ("kept for every lane", _bytes(plan["state_bytes_per_lane"])),
        ("largest number of lanes that fits", _most(plan)),
        ("operations between devices", _collectives(plan)),
        ("FLOPs of a lane's step", f"{plan['flops_per_lane_step'] / 1e9:.3g} G, by direct convolution"),
        ("read and written in a lane's step", _bytes(accessed and int(accessed))),
        ("estimate of a lane's step", _describe_roofline(plan["roofline"])),
        ("compilations", ", ".join(f"{c['lanes']} lanes {c['seconds']:.0f} s" for c in plan["compilations"])),
    ]


def _describe_roofline(roofline: dict[str, Any] | None) -> str:
    if roofline is None:
        return "unknown: nobody knows this device's speed"
    return (
        f"{roofline['seconds_per_lane_step']:.2g} s on one device, limited by {roofline['limit']} (arithmetic "
        f"{roofline['seconds_of_arithmetic']:.2g} s, memory {roofline['seconds_of_memory']:.2g} s); assumed "
        f"{roofline['flops_per_second'] / 1e12:.3g} TFLOP/s, {roofline['bytes_per_second'] / 1e9:.3g} GB/s: "
        f"{roofline['source']}"
    )


def _most(plan: dict[str, Any]) -> str:
    if not plan["max_lanes"]:
        return "none of those compiled: take a smaller --size or --microbatch"
    return f"{plan['max_lanes']}, with {_bytes(plan['max_lanes_peak_bytes_per_device'])} on each device"


def _collectives(plan: dict[str, Any]) -> str:
    return "unknown: the compiler gave up" if plan["collectives"] is None else str(plan["collectives"])


def _bytes(count: int | None) -> str:
    if count is None:
        return "unknown"
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"
