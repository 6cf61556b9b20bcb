"""Trials of what a sweep must survive: kills, signals, a full disk, damaged files, lanes that fail; and what it costs.

python scripts/trials.py kill --count 20; python scripts/trials.py --help names them. Each prints a line a trial, ends
with a row of a Markdown table, and with status 1 if one failed. Moments and bytes are drawn from --seed. The sweeps are
small, their weights random.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from trial_runs import Verdict
from trials_of_ends import own_mounts, try_damage, try_disk, try_kill, try_term
from trials_of_lanes import try_lanes, try_live, try_overhead, try_thousand

TRIALS: dict[str, Callable[[Path, argparse.Namespace], Verdict]] = {
    "kill": try_kill,
    "term": try_term,
    "disk": try_disk,
    "damage": try_damage,
    "lanes": try_lanes,
    "overhead": try_overhead,
    "live": try_live,
    "thousand": try_thousand,
}


def main() -> None:
    """Run one kind of trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trial", choices=TRIALS)
    parser.add_argument("--count", type=int, default=20, help="moments, damages of each file, or turns")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tolerance", type=float, help="of kill and term: lanes converge, and are left out")
    parser.add_argument("--lanes", type=int, default=1000, help="of thousand")
    parser.add_argument("--steps", type=int, default=200, help="of overhead and live")
    parser.add_argument("--few-layers", action="store_true", help="of a small network, which takes less time")
    args = parser.parse_args()
    if args.trial == "disk":
        own_mounts()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["JAXSTYLE_CACHE"] = str(Path(folder) / "cache")
        os.environ["TMPDIR"] = folder  # where results are kept that can't be written in their place
        work = Path(folder) / "trials"
        work.mkdir()
        verdict = TRIALS[args.trial](work, args)
    print(f"| {verdict.trial} | {verdict.found} | {'passed' if verdict.passed else 'FAILED'} |")
    sys.exit(0 if verdict.passed else 1)


if __name__ == "__main__":
    main()
