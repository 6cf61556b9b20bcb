"""Trials of runs that end before their time, and go on: killed, stopped, on a full disk, with damaged files."""

import argparse
import contextlib
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from trial_runs import SWEEP, Verdict, finish, go_on, moments, phase, reference, results, start

from jaxstyle.app.checkpoints.checkpoints import read_record
from jaxstyle.app.checkpoints.saved_file import DamagedError, read_saved
from jaxstyle.app.run_folder.recorded_job import restore_run_json
from jaxstyle.app.system.errors import StartError

_LONGEST_STOP = 3.5  # a chunk of a second (a step takes far less than an eighth of it), half of one over, and 2 seconds


def try_kill(folder: Path, args: argparse.Namespace) -> Verdict:
    """Kill -9 at random moments; resumed, results must be bit-identical."""
    return _try_end(folder, args, signal.SIGKILL)


def try_term(folder: Path, args: argparse.Namespace) -> Verdict:
    """SIGTERM at random moments; the process must end within a chunk and 2 s, and the run be resumable."""
    return _try_end(folder, args, signal.SIGTERM)


def _try_end(folder: Path, args: argparse.Namespace, number: signal.Signals) -> Verdict:
    sweep = SWEEP if args.tolerance is None else [*SWEEP, "--tolerance", str(args.tolerance)]
    whole, duration = reference(folder, sweep)
    same = in_time = 0
    longest = 0.0
    for i, moment in enumerate(moments(args.count, duration, args.seed)):
        own = folder / str(i)
        own.mkdir()
        process = start(*sweep, folder=own)
        time.sleep(moment)
        process.send_signal(number)
        began = time.monotonic()
        status, line = finish(process)
        took = time.monotonic() - began
        where = phase(own / "run")
        late = status == 0 and where == "finished"
        again, said = (0, "") if late else go_on(own, sweep)
        identical = again == 0 and results(own / "run") == whole
        same += identical
        # Before the command has taken over its signals, Python ends by them.
        in_time += (late or status in (128 + number, -number)) and took < _LONGEST_STOP
        longest = max(longest, took)
        verdict = "the same bits" if identical else f"FAILED: {again} {said}"
        ended = f"{status} after {took:.1f} s, {line!r}"
        print(f"{number.name} at {moment:5.1f} s ({where}): {ended}; {verdict}", flush=True)
    compacted = "" if args.tolerance is None else f", lanes converging (`--tolerance {args.tolerance:g}`)"
    found = f"{same} of {args.count} bit-identical when resumed"
    if number == signal.SIGTERM:
        found = f"{in_time} of {args.count} ended within {longest:.1f} s; {found}"
    kind = "kill -9" if number == signal.SIGKILL else number.name
    return Verdict(same == in_time == args.count, f"{kind} at {args.count} random moments{compacted}", found)


# Fills the disk before the call of a function, so that what it writes does not fit.
_FILLING = """
from jaxstyle.app import cli
from jaxstyle.app.{wing} import {module}
real, calls = {module}.{name}, []
def on_a_full_disk(*arguments, **options):
    calls.append(1)
    if len(calls) == {call}:
        with open("ballast", "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
    return real(*arguments, **options)
{module}.{name} = on_a_full_disk
cli.main()
"""
_FULL = {
    "a checkpoint": ("checkpoints", "checkpoints", "write_saved", 4),
    "a lane's picture": ("sweeping", "results", "encode_png", 4),
    "the tables": ("sweeping", "results", "_lanes_table", 1),
    "the report": ("sweeping", "results", "write_report", 1),
}


def try_disk(folder: Path, args: argparse.Namespace) -> Verdict:
    """A small file system that is full when something is written; needs the right to mount one (see `own_mounts`)."""
    whole, _ = reference(folder, SWEEP)
    passed = []
    for what, (wing, module, name, call) in _FULL.items():
        with _small_disk(folder / "disk") as disk:
            code = _FILLING.format(wing=wing, module=module, name=name, call=call)
            status, line = finish(start(*SWEEP, folder=disk, code=code))
            where = phase(disk / "run")
            broken = _broken(disk / "run", whole)
            (disk / "ballast").unlink()
            again, said = go_on(disk, SWEEP)
            same = again == 0 and results(disk / "run") == whole
        if status == 1 and "the disk is full" in line and "jaxstyle resume run" in line and not broken and same:
            passed.append(what)
            verdict = "what was there is intact; resumed to the same bits"
        else:
            verdict = f"FAILED: broken {broken}; {again} {said}"
        print(f"disk full at {what} ({where}): {status} {line!r}; {verdict}", flush=True)
    found = f"{', '.join(passed)}: one line, what was there intact, bit-identical when resumed with space free"
    return Verdict(len(passed) == len(_FULL), f"disk full at {', '.join(_FULL)}", found)


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "trial", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _broken(run: Path, whole: dict[str, bytes]) -> list[str]:
    """Names of files in a run folder that are not what they should be."""
    broken = []
    for name, data in results(run).items():
        if name.startswith("checkpoint"):
            try:
                read_saved(run / name)
            except DamagedError:
                broken.append(name)
        elif data != whole[name]:
            broken.append(name)
    return broken


def own_mounts() -> None:
    """Start this program again where it may mount file systems, which are gone when it ends, however it ends."""
    if "TRIALS_OWN_MOUNTS" not in os.environ:
        os.environ["TRIALS_OWN_MOUNTS"] = "1"
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        os.execvp("unshare", ["unshare", "--mount", *as_root, sys.executable, *sys.argv])


def try_damage(folder: Path, args: argparse.Namespace) -> Verdict:
    """A byte flipped in, or the end cut off, each file that resume reads."""
    process = start(*SWEEP, folder=folder)
    run = folder / "run"
    while len(list(run.glob("checkpoint/lanes*"))) != 2 and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    rng = random.Random(args.seed)
    record = read_record(run)
    missed = tried = 0
    for file in (run / "run.json", *sorted((run / "checkpoint").glob("*.ckpt"))):
        data = file.read_bytes()
        for i in range(args.count):
            at = rng.randrange(len(data))
            flipped = bytearray(data)
            flipped[at] ^= 1 << rng.randrange(8)
            file.write_bytes(bytes(flipped) if i % 2 else data[:at])
            tried += 1
            try:
                if file.name == "run.json":
                    with contextlib.redirect_stderr(io.StringIO()):
                        restore_run_json(run, record)
                    missed += file.read_bytes() != data  # damage that it says is written anew
                else:
                    read_saved(file)
                    missed += 1
            except (DamagedError, StartError):
                pass
            file.write_bytes(data)
    trial = f"a bit flipped in, or the end cut off, each file that resume reads, {args.count} times"
    return Verdict(tried > args.count and not missed, trial, f"{tried - missed} of {tried} detected")
