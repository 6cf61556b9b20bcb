"""The command `jaxstyle`: arguments, messages, exit status. Imports jax only once the arguments are read."""

import argparse
import contextlib
import math
import os
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from jaxstyle import __version__
from jaxstyle.app.errors import AppError, RunError, StartError
from jaxstyle.app.plan_command import add_plan
from jaxstyle.app.screen import tell
from jaxstyle.app.settings import DEFAULT_SIZE, DEFAULT_STEPS, WEIGHT_DEFAULTS, Settings, weight_defaults
from jaxstyle.layers import CONTENT_LAYERS, POOLINGS, STYLE_LAYERS

_RANGE = re.compile(r"([^:]+):([^:]+):([^:]+)")
_MAX_LANES_IN_RANGE = 100_000
_FLOAT32_MAX = 3.4e38


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 done, 1 something failed, 2 could not start, 130 and 143 stopped by a signal."""
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    _open_closed_streams()
    args = _make_parser().parse_args(arguments)
    try:
        args.command(args)
    except Exception as error:
        if args.debug:
            raise
        status, message = _describe(error)
        tell(f"jaxstyle: {message}")
        sys.exit(status)
    sys.exit(0)


def _stop(number: int, _: object) -> NoReturn:
    # At once and not by an exception: one raised within a callback of a library is dropped there, or turned into
    # another, and the device may be computing still, which must not outlive what it computes with.
    name, status = ("Ctrl-C", 130) if number == signal.SIGINT else ("SIGTERM", 143)
    with contextlib.suppress(OSError):
        new_line = "\n" if os.isatty(2) else ""  # below a progress bar
        os.write(2, f"{new_line}jaxstyle: stopped by {name}\n".encode())
    os._exit(status)


def _open_closed_streams() -> None:
    """Python has None for a stream that was closed before it started."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115


def _describe(error: Exception) -> tuple[int, str]:
    if isinstance(error, AppError):
        return error.status, " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return 1, "out of memory: take a smaller --size or fewer lanes"
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return 1, f"{text[:500]} (unexpected: --debug shows where it comes from)"


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="jaxstyle", description="Neural style transfer, many alpha/beta settings at once.")
    parser.add_argument("--version", action="version", version=f"jaxstyle {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    sweep = commands.add_parser(
        "sweep",
        help="one picture for each combination of alpha, beta and tv, into a run folder",
        description="Make one picture for each combination of the given alphas, betas and tvs, all in one vmapped "
        "loop, and write them with their losses and a labelled sheet into a run folder. A list is values (0.1 1 10) "
        "or a logarithmic range (0.1:100:4: four values from 0.1 to 100).",
    )
    _add_inputs(sweep)
    _add_weights(sweep, nargs="+", kind=_weight_list, beta=" ".join(f"{b:g}" for b in WEIGHT_DEFAULTS["mean"].betas))
    _add_options(sweep)
    sweep.add_argument("--out", metavar="RUN", help="run folder (default: a new numbered one under runs/)")
    sweep.add_argument("--overwrite", action="store_true", help="replace the run that --out holds")
    sweep.set_defaults(command=_sweep)

    transfer = commands.add_parser(
        "transfer", help="one picture", description="Make one picture, with one alpha, beta and tv."
    )
    _add_inputs(transfer)
    _add_weights(transfer, nargs=None, kind=_weight, beta=f"{WEIGHT_DEFAULTS['mean'].beta:g}")
    _add_options(transfer)
    transfer.add_argument("-o", "--output", metavar="FILE", required=True, help="the .png file to write")
    transfer.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    transfer.set_defaults(command=_transfer)
    add_plan(commands, _positive)
    return parser


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("content", metavar="CONTENT", help="image file to restyle, or sample:cat, sample:coffee")
    parser.add_argument(
        "style",
        metavar="STYLE",
        help="image file to take the style of, or sample:swirls, sample:mosaic, sample:woodcut",
    )


def _add_weights(parser: argparse.ArgumentParser, nargs: str | None, kind: Any, beta: str) -> None:
    note = "; larger or smaller for a --convention other than mean"
    for name, what, default in (
        ("alpha", "content weight", "1"),
        ("beta", "style weight", beta),
        ("tv", "total-variation weight, which smooths", f"{WEIGHT_DEFAULTS['mean'].tv:g}"),
    ):
        parser.add_argument(
            f"--{name}",
            nargs=nargs,
            type=kind,
            default=argparse.SUPPRESS,
            metavar="X",
            help=f"{what} (default: {default}{note if name != 'alpha' else ''})",
        )


def _add_options(parser: argparse.ArgumentParser) -> None:
    def add(flag: str, help_text: str, **options: Any) -> None:
        parser.add_argument(flag, default=argparse.SUPPRESS, help=help_text, **options)

    add("--size", f"longest side in pixels; never scales up (default: {DEFAULT_SIZE})", type=_positive, metavar="PX")
    add("--style-size", "longest side of the style image (default: --size)", type=_positive, metavar="PX")
    add("--steps", f"optimisation steps (default: {DEFAULT_STEPS})", type=_positive, metavar="N")
    add("--optimizer", "adam or lbfgs (default: adam)", metavar="NAME")
    add("--learning-rate", "step size (default: 0.03 for adam, a line search for lbfgs)", type=_rate, metavar="X")
    add("--convention", "scaling of the losses: mean, gatys, johnson or relative (default: mean)", metavar="NAME")
    add("--content-layers", f"(default: {' '.join(CONTENT_LAYERS)})", nargs="+", metavar="LAYER")
    add("--style-layers", f"(default: {' '.join(STYLE_LAYERS)})", nargs="+", metavar="LAYER")
    add("--pooling", "max or average (default: max)", choices=POOLINGS)
    add(
        "--init",
        "image to start from: content, noise or style (default: content)",
        choices=("content", "noise", "style"),
    )
    add("--seed", "random seed of --init noise (default: 0)", type=_seed, metavar="N")
    add(
        "--microbatch",
        "lanes computed at once, which sets the memory (default: by device)",
        type=_positive,
        metavar="N",
    )
    add("--weights", "bundled, random:SEED, or a .safetensors file (default: bundled)", metavar="SET")
    parser.add_argument("--debug", action="store_true", help="show a traceback on errors")


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value


def _weight(text: str) -> float:
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    if value > _FLOAT32_MAX:
        raise argparse.ArgumentTypeError(f"{text} is larger than float32 holds")
    return value


def _weight_list(text: str) -> tuple[float, ...]:
    match = _RANGE.fullmatch(text)
    if match is None:
        return (_weight(text),)
    low, high = _weight(match[1]), _weight(match[2])
    count = _integer(match[3], 2, _MAX_LANES_IN_RANGE)
    if not 0 < low < high:
        raise argparse.ArgumentTypeError(f"{text}: a range LOW:HIGH:COUNT needs 0 < LOW < HIGH")
    # Rounded to what float32 holds, so that 0.1:100:4 reads 0.1, 1, 10, 100.
    return tuple(float(f"{low * (high / low) ** (i / (count - 1)):.7g}") for i in range(count))


def _integer(text: str, low: int, high: int) -> int:
    if not text.isdecimal() or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
    return int(text)


def _positive(text: str) -> int:
    return _integer(text, 1, 10**6)


def _seed(text: str) -> int:
    return _integer(text, 0, 2**32 - 1)


def _rate(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _settings(args: argparse.Namespace) -> Settings:
    given = {name: value for name, value in vars(args).items() if name in Settings.__dataclass_fields__}
    for name in ("content_layers", "style_layers"):
        if name in given:
            given[name] = tuple(given[name])
    for name in ("alpha", "beta", "tv"):
        if isinstance(given.get(name), list):
            given[name] = tuple(value for values in given[name] for value in values)
        elif name in given:
            given[name] = (given[name],)
    return Settings(**given)


def _sweep(args: argparse.Namespace) -> None:
    from jaxstyle.app import job as jobs
    from jaxstyle.app import run

    job = jobs.load_job(_settings(args))
    with run.create_run(args.out, overwrite=args.overwrite) as folder:
        run.write_record(folder, job)
        _announce(job, len(run.lane_rows(job)))
        outcome = jobs.run_job(job)
        run.write_run(folder, job, outcome)
    count = len(outcome.ok)
    what = f"{count} lane{'s' * (count != 1)}, {job.settings.steps} steps in {outcome.seconds:.0f} s"
    print(f"{what}: {folder / 'sheet.png'}")
    failed = [str(i) for i, ok in enumerate(outcome.ok) if not ok]
    if failed:
        raise RunError(f"{_lanes(failed)} met a loss or gradient that is not finite and kept the last good image")


def _transfer(args: argparse.Namespace) -> None:
    from jaxstyle.app import job as jobs
    from jaxstyle.app import run
    from jaxstyle.app.files import write_atomic

    output = Path(args.output)
    if output.suffix.lower() != ".png":
        raise StartError(f"{output} does not end in .png, the one format that is written")
    _check_output(output, args)
    settings = _settings(args)
    if settings.beta is None:
        settings = replace(settings, beta=(weight_defaults(settings.convention).beta,))
    job = jobs.load_job(settings)
    _announce(job, 1)
    outcome = jobs.run_job(job)
    if not outcome.ok[0]:
        raise RunError("a loss or gradient was not finite; take smaller weights or a smaller --learning-rate")
    write_atomic(output, run.picture(job, run.lane_rows(job)[0], outcome.images[0]), overwrite=args.overwrite)
    losses = [f"{name} {getattr(outcome.history, name)[0, -1]:.4g}" for name in ("content", "style")]
    print(f"{job.settings.steps} steps in {outcome.seconds:.0f} s, {', '.join(losses)}: {output}")


def _check_output(output: Path, args: argparse.Namespace) -> None:
    from jaxstyle.app.files import explain

    try:
        if output.is_dir() or not output.parent.is_dir():
            raise StartError(f"cannot write {output}: give the name of a file in a folder that exists")
        if output.exists() and not args.overwrite:
            raise StartError(f"{output} exists; give another file, or --overwrite")
        for name in (args.content, args.style):
            if output.exists() and Path(name).exists() and output.samefile(name):
                raise StartError(f"{output} is an input; give another file to write")
    except OSError as error:
        raise explain(error, f"cannot write {output}") from error


def _announce(job: Any, lanes: int) -> None:
    h, w, _ = job.content.shape
    what = f"{lanes} lane{'s' * (lanes != 1)} of {w}x{h} pixels, {job.settings.steps} steps, weights {job.weights.name}"
    tell(f"{what}; compiling")


def _lanes(names: list[str]) -> str:
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return f"lane{'s' * (len(names) != 1)} {shown}"


if __name__ == "__main__":
    main()
