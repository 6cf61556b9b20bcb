"""The command `jaxstyle weights`, which lists, fetches, ports, verifies and normalises weight sets."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from jaxstyle.app.commands.options import add_debug, as_argument
from jaxstyle.app.settings.values import parse_integer
from jaxstyle.app.system.errors import AppError, RunError, StartError
from jaxstyle.app.system.screen import say, say_done
from jaxstyle.network.layers import POOLINGS
from jaxstyle.pretrained.weight_sets import LPIPS_SETS, PREPROCESSINGS, REGISTRY, REMOTE_SETS

_DEFAULT_SIZE = 256

_AddAction = Callable[..., argparse.ArgumentParser]
"""Adds the parser of an action, given its name, its function, its help and its description."""


def add_weights(commands: Any) -> None:
    """Add the parser of `jaxstyle weights` and of its actions."""
    weights = commands.add_parser("weights", help="the networks' weights: list, fetch, port, verify, normalise")
    actions = weights.add_subparsers(metavar="ACTION", required=True)

    def add(name: str, run: Callable[[argparse.Namespace], Path | None], help_text: str, description: str) -> Any:
        parser = actions.add_parser(name, help=help_text, description=description)
        parser.set_defaults(command=lambda args: _call(run, args))
        add_debug(parser)
        return parser

    add(
        "list", _list, "all sets, and where they lie", "Show every weight set: bundled, in the cache, or to be fetched."
    )
    fetch = add(
        "fetch",
        _fetch,
        "download a public set",
        "Download a public weight set and port it into the cache folder (JAXSTYLE_CACHE names another one). The last "
        "line is the path of its file.",
    )
    fetch.add_argument("name", metavar="NAME", help=", ".join(REMOTE_SETS))
    _add_port(add)
    add("verify", _verify, "check all sets", "Check the hash and the tensors of every set there is.")
    _add_normalise(add)


def _add_port(add: _AddAction) -> None:
    port = add(
        "port",
        _port,
        "bring a file of another program",
        "Port a file of VGG19's or VGG16's weights into the cache folder: torchvision's or Caffe's .pth, safetensors, "
        "Keras's .h5, MatConvNet's .mat, Flax's msgpack, recognised by content. The last line is the path of the "
        "file that was written.",
    )
    port.add_argument("file", metavar="FILE", help="the file to port")
    _add_name(port, "the public set that the file is, or its own name")
    port.add_argument(
        "--preprocessing",
        choices=tuple(PREPROCESSINGS),
        help="the input that the network expects, if the file is an odd one (default: what its content tells)",
    )


def _add_normalise(add: _AddAction) -> None:
    normalise = add(
        "normalise",
        _normalise,
        "make every filter's mean activation 1",
        "Rescale a set's filters so that each one's mean activation over images and positions is 1, as Gatys et al. "
        "did; it needs 16 photographs or more. The last line is the path of the file that was written.",
    )
    normalise.add_argument("set", metavar="SET", help="the set to normalise")
    normalise.add_argument("images", metavar="FOLDER", help="a folder of images, or tfds:NAME/SPLIT")
    _add_name(normalise, "SET-normalised")
    normalise.add_argument(
        "--size",
        type=as_argument(partial(parse_integer, low=32, high=10**5)),
        default=_DEFAULT_SIZE,
        metavar="PX",
        help=f"longest side of the images in pixels (default: {_DEFAULT_SIZE})",
    )
    normalise.add_argument("--pooling", choices=POOLINGS, default=POOLINGS[0], help=f"(default: {POOLINGS[0]})")


def _add_name(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--name", help=f"what to call the set (default: {default})")


def _call(run: Callable[[argparse.Namespace], Path | None], args: argparse.Namespace) -> Path | None:
    from jaxstyle.app.system.devices import find_devices
    from jaxstyle.pretrained.weight_files import WeightsError

    if run is not _list:
        find_devices()
    try:
        return run(args)
    except WeightsError as error:
        raise StartError(str(error)) from error


def _list(_: argparse.Namespace) -> None:
    from jaxstyle.pretrained.weight_files import WeightsError, cached_names, default_set, find_cached, set_path

    for name in [*REGISTRY, *cached_names()]:
        try:
            entry = REGISTRY.get(name) or find_cached(name)
        except WeightsError as error:
            say(f"{name}: {error}")
            continue
        if entry is not None:
            _show(name, entry.architecture, entry.source, entry.licence, f"sha256 {entry.sha256}", set_path(name))
    for name, remote in REMOTE_SETS.items():
        if name not in cached_names():
            published = remote.downloads[0]
            where = f"not here: jaxstyle weights fetch {name}"
            _show(name, remote.architecture, remote.source, remote.licence, f"{published.hash} as published", where)
    say("a transfer takes {}: {}".format(*default_set()))


def _show(name: str, architecture: str, source: str, licence: str, digest: str, where: object) -> None:
    say(f"{name}: {architecture}, {licence}\n  {source}\n  {digest}\n  {where}")


def _done(path: Path) -> Path:
    say_done(str(path))
    return path


def _fetch(args: argparse.Namespace) -> Path:
    from jaxstyle.app.weights.fetch_weight_set import fetch_set

    return _done(fetch_set(args.name))


def _port(args: argparse.Namespace) -> Path:
    from jaxstyle.app.weights.store import port_file

    return _done(port_file(args.file, args.name, args.preprocessing))


def _verify(_: argparse.Namespace) -> None:
    from jaxstyle.pretrained.load import load_params
    from jaxstyle.pretrained.lpips import load_lpips
    from jaxstyle.pretrained.weight_files import WeightsError, cached_names, set_path

    failed, network_of = [], {name: network for network, name in LPIPS_SETS.items()}
    names = [*REGISTRY, *cached_names()]
    for name in names:
        try:
            load_lpips(network_of[name]) if name in network_of else load_params(name)
            say(f"{name}: ok, {set_path(name)}")
        except (WeightsError, AppError) as error:
            failed.append(name)
            say(f"{name}: FAILED, {error}")
    if failed:
        raise RunError(f"{len(failed)} of {len(names)} weight sets can't be used: {', '.join(failed)}")


def _normalise(args: argparse.Namespace) -> Path:
    from jaxstyle.app.weights.normalise import normalise_set
    from jaxstyle.app.weights.store import check_name, store_set

    name = args.name or f"{Path(args.set).stem if args.set.endswith('.safetensors') else args.set}-normalised"
    check_name(name)
    return _done(store_set(name, *normalise_set(args.set, args.images, args.size, args.pooling)))
