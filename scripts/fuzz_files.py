"""Make calls of the system fail while jaxstyle works: what is finished must be there, or the work not have begun.

    python scripts/fuzz_files.py --trials 600 --seed 0

Each trial runs `transfer`, `sweep` or `resume` in this process on tiny pictures, in which one kind of call (opening to
write, write, flush, fsync, link, rename, unlink, mkdir, flock and more) fails with one errno at a moment that the seed
decides: once, or from there on. Prints a table of how the trials ended. Exits 1 if a picture was lost, a run could not
be resumed, a file was partial, or the command said anything but one line of error. Linux only.
"""

import argparse
import contextlib
import errno
import functools
import io
import random
import re
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import jinja2
import numpy as np
from failing_calls import CALLS, ERRORS, Fault, Faults
from PIL import Image

from jaxstyle.app import cli
from jaxstyle.app.execution import lanes_of_shape, network, run_job
from jaxstyle.app.execution.progress import Progress
from jaxstyle.app.report import page

OPTIONS = ["--weights", "random:0", "--content-layers", "relu1_1", "--style-layers", "relu1_1"]
OPTIONS += ["--optimizer", "adam", "--size", "16", "--steps", "4"]
PICTURES = ["c.png", "s.png"]
COMMANDS = {
    "transfer": ["transfer", *PICTURES, *OPTIONS, "-o", "out.png"],
    "sweep": ["sweep", *PICTURES, *OPTIONS, "--beta", "1", "10", "--checkpoint-every", "0", "--out", "run"],
    "resume": ["resume", "run", "--checkpoint-every", "0"],
}
_KEPT = re.compile(r"(?:it is|the results are) in (\S+) instead")


class Ended(NamedTuple):
    """How a command ended: its status, what it printed on stderr, whether it had begun to compute."""

    status: int
    err: str
    computed: bool


def run(arguments: list[str], faults: Faults | None = None) -> Ended:
    """The command in this process."""
    real, begun, err = run_job.run_job, [], io.StringIO()

    def counted(*args: Any) -> Any:
        begun.append(1)
        return real(*args)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(run_job, "run_job", counted))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(err))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("always")
        status: Any = None
        try:
            with faults.at_work() if faults else contextlib.nullcontext():
                cli.main(arguments)
        except SystemExit as stop:
            status = stop.code
    return Ended(status, err.getvalue(), bool(begun))


@contextlib.contextmanager
def remembered_work() -> Iterator[None]:
    """Do but once what is the same in all trials: parameters, targets, programs, plots."""

    def once(function: Callable[..., Any], key: Callable[..., Any]) -> Callable[..., Any]:
        found: dict[Any, Any] = {}

        def call(*args: Any, **kwargs: Any) -> Any:
            k = key(*args)
            if k not in found:
                found[k] = function(*args, **kwargs)
            return found[k]

        return call

    def make_lanes(*args: Any, **kwargs: Any) -> Any:
        made = real_lanes(*args, **kwargs)
        put = made._put
        made._put = lambda tree, spec: put(jax.tree.map(jnp.copy, tree), spec)  # a run uses up its state
        made.compile = once(made.compile, lambda _: None)
        return made

    real_lanes = lanes_of_shape.CompiledLanes
    with contextlib.ExitStack() as stack:
        for owner, name, function in (
            (network, "load_weights", functools.cache(network.load_weights)),
            (run_job, "prepare", once(run_job.prepare, lambda _: None)),
            (run_job, "make_batch", once(run_job.make_batch, lambda job, params, lanes: len(lanes))),
            (lanes_of_shape, "CompiledLanes", once(make_lanes, lambda job, params, batch: len(batch.rates))),
            (
                page,
                "_describe",
                once(page._describe, lambda run, _show, planes: (run.finished, len(run.lanes), len(planes))),
            ),
            (jinja2.Environment, "get_template", once(jinja2.Environment.get_template, lambda _, name, *rest: name)),
        ):
            stack.enter_context(mock.patch.object(owner, name, function))
        yield


class _StopError(BaseException):
    """Ends a run as a kill does."""


class Stage:
    """Where trials take place: a folder with pictures, what commands make there undisturbed, and an unfinished run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.wanted, self.counts = folder, {}, {}
        rng = np.random.default_rng(7)
        self.start = folder / "start"
        self.start.mkdir()
        for name in PICTURES:
            Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(self.start / name)
        self.begun = folder / "begun"
        shutil.copytree(self.start, self.begun)
        self._begin()
        for name, arguments in COMMANDS.items():
            faults = Faults()
            for _ in range(2):  # the second time, all is compiled
                faults.counts.clear()
                with self.scene(name) as place:
                    ended = run(arguments, faults)
                    self.wanted[name] = results(place)
                if ended.status:
                    raise SystemExit(f"{name} fails undisturbed: {ended.err}")
            self.counts[name] = faults.counts

    def _begin(self) -> None:
        real = Progress.advance

        def advance(progress: Progress, *args: Any) -> None:
            real(progress, *args)
            if progress.step > 1:
                raise _StopError

        with (
            contextlib.chdir(self.begun),
            mock.patch.object(Progress, "advance", advance),
            contextlib.suppress(_StopError),
        ):
            run(COMMANDS["sweep"])

    @contextlib.contextmanager
    def scene(self, command: str) -> Iterator[Path]:
        """A copy of the folder that a command begins with, which is the working folder within the context."""
        with tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as name:
            place = Path(name) / "place"
            shutil.copytree(self.begun if command == "resume" else self.start, place)
            with contextlib.chdir(place):
                yield place

    def draw(self, rng: random.Random) -> tuple[str, Fault]:
        """A command and a fault that it meets."""
        command = rng.choice(list(COMMANDS))
        counts = self.counts[command]
        call = rng.choice([call for call in CALLS if counts[call] or call in ("chmod", "symlink")])
        number = rng.randrange(max(1, counts[call]))
        return command, Fault(call, number, rng.choice(ERRORS), rng.random() < 0.5)

    def judge(self, command: str, fault: Fault) -> str:
        """How a command ends with a fault, in words; what begins with FAILED is none of the ways that it may."""
        with self.scene(command) as place:
            ended = run(COMMANDS[command], Faults(fault))
            lines = ended.err.splitlines()
            if ended.status not in (0, 1, 2):
                return f"FAILED: status {ended.status}"
            if re.search(r"Traceback|\(unexpected|Warning", ended.err) or sum(x[:9] == "jaxstyle:" for x in lines) > 1:
                return "FAILED: more than one line of error"
            return self._check(command, place, ended, fault)

    def _check(self, command: str, place: Path, ended: Ended, fault: Fault) -> str:
        wanted, found = self.wanted[command], results(place)
        kept_names = ("out-", "jaxstyle-")
        differ = {n: data for n, data in found.items() if data != wanted.get(n) and not n.startswith(kept_names)}
        # The page of a run that has stopped says so, in place of what a finished one shows.
        if any(not ended.status or not _is_whole_page(name, data) for name, data in differ.items()):
            return "FAILED: a file is partial"
        if ended.status == 0:
            return "done" if found == wanted else "FAILED: done, but files are missing"
        if not ended.err.splitlines()[-1].startswith("jaxstyle: "):
            return "FAILED: no line of error"
        if ended.computed and ended.status != 1:
            return f"FAILED: status {ended.status} after the work"
        if ended.computed and (kept := _KEPT.search(ended.err)):
            there = Path(kept[1])
            if there.is_file():
                same = there.read_bytes() == wanted["out.png"]
            else:
                same = _without_report(results(there), "") == _without_report(wanted, "run/")
            return "kept elsewhere" if same else "FAILED: what was kept is not what was made"
        if not ended.computed and command == "transfer":
            return "refused before" if not found else "FAILED: refused, but wrote"
        if command != "transfer":
            return self._go_on(command, place, "stopped" if ended.computed else "refused before")
        return "nowhere to write" if fault.lasting and not found else "FAILED: the picture is lost"

    def _go_on(self, command: str, place: Path, how: str) -> str:
        """Whether the run comes to its end once all calls work again."""
        begun = list(place.glob("run/checkpoint/*.ckpt")) or (place / "run" / "run.json").exists()
        for mark in place.glob("run/.lock-held"):
            mark.unlink()  # as its message says
        ended = run(COMMANDS["resume" if begun else "sweep"])
        if ended.status or results(place) != self.wanted[command]:
            return f"FAILED: {how}, and not resumed: {ended.err.splitlines()[-1:]}"
        return f"{how}, resumed"


def results(place: Path) -> dict[str, bytes]:
    """What commands have made in a folder, by name, but for run.json, checkpoints and hidden files."""
    files = {str(file.relative_to(place)): file for file in place.rglob("*") if file.is_file()}
    made = (name for name in files if name not in PICTURES and not re.search(r"(^|/)\.|run\.json$|checkpoint/", name))
    return {name: files[name].read_bytes() for name in sorted(made)}


def _is_whole_page(name: str, data: bytes) -> bool:
    return name.endswith("report.html") and data.rstrip().endswith(b"</html>")


def _without_report(files: dict[str, bytes], prefix: str) -> dict[str, bytes]:
    """The files of a run, named within its folder, without the report, which names the folder."""
    return {name.removeprefix(prefix): data for name, data in files.items() if not name.endswith("report.html")}


def fuzz(trials: int, seed: int) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Ends of trials counted by (call, how), and a line for each that failed."""
    rng = random.Random(seed)
    ends: Counter[tuple[str, str]] = Counter()
    failed = []
    kept = "jax_persistent_cache_min_compile_time_secs"  # which a cache that can't be written changes
    with tempfile.TemporaryDirectory() as folder, remembered_work(), contextlib.ExitStack() as stack:
        stack.callback(jax.config.update, kept, getattr(jax.config, kept))
        stage = Stage(Path(folder))
        for i in range(trials):
            command, fault = stage.draw(rng)
            how = stage.judge(command, fault)
            if how.startswith("FAILED"):
                failed.append(f"trial {i}: {command}, {fault._replace(error=errno.errorcode[fault.error])}: {how}")
                how = "FAILED"
            ends[fault.call, how] += 1
    return ends, failed


def main() -> None:
    """Run trials and print the table."""
    parser = argparse.ArgumentParser(description="Make calls of the system fail while jaxstyle works.")
    parser.add_argument("--trials", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    ends, failed = fuzz(args.trials, args.seed)
    for line in failed:
        print(line, file=sys.stderr)
    ways = sorted({how for _, how in ends})
    print(f"| call | trials | {' | '.join(ways)} |")
    print("|---" * (len(ways) + 2) + "|")
    for call in [*sorted({call for call, _ in ends}), "all"]:
        counts = [sum(n for (c, h), n in ends.items() if h == how and call in (c, "all")) for how in ways]
        print(f"| {call} | {sum(counts)} | {' | '.join(map(str, counts))} |")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
