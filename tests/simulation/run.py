"""Run many seeds: `python tests/simulation/run.py --seeds 1000 [--first N] [--jobs 2] [--defect NAME]`.

Prints the first failing seed with its trace, every promise it broke and the command that runs it again; then the rate.
Exit code 1 when a promise was broken. `--find NAME ...` looks for the first seed that finds each of these defects (all of
them when none is named) and prints the lines of the table in defects.py. `--only NAME:SEED ...` runs single worlds (NAME
`none` is the product as it is) and prints what each broke, as JSON lines.
"""

import argparse
import gc
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SHOWN = 8
SHARE = 20
"""Seeds of one process. It ends without collecting garbage, which costs a fifth of a world: 4 MB of memory each."""
PROGRESS = 1000


class Ran(NamedTuple):
    """What became of a seed. `trace` is empty unless something was found or every trace is wanted."""

    seed: int
    found: list[str]
    trace: list[str]
    faults: list[str]


def main() -> int:
    from simulation.defects import DEFECTS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="processes; as many as there are cores if absent"
    )
    parser.add_argument("--defect", choices=sorted(DEFECTS))
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first failing seed")
    parser.add_argument("--trace", action="store_true", help="print every trace")
    parser.add_argument("--find", nargs="*", metavar="NAME", choices=sorted(DEFECTS))
    parser.add_argument("--only", nargs="+", metavar="NAME:SEED")
    given = parser.parse_args()
    # Coroutines of dead workers are collected without a running loop; what they say then means nothing.
    sys.unraisablehook = lambda *_: None
    gc.disable()
    if given.only:
        return _only(given.only)
    if given.find is not None:
        return _find(given, given.find or list(DEFECTS))
    return _many(given)


def _only(worlds: list[str]) -> int:
    from simulation.world import simulate

    for place in worlds:
        name, seed = place.split(":")
        world, found = simulate(int(seed), None if name == "none" else name)
        print(json.dumps({"world": place, "found": found, "trace": world.trace, "faults": world.faults}))
        gc.collect()
    return 0


def _share(part: tuple[int, int, str | None, bool]) -> list[Ran]:
    from simulation.world import simulate

    first, after, defect, traced = part
    ran = []
    for seed in range(first, after):
        world, found = simulate(seed, defect)
        ran.append(Ran(seed, found, world.trace if found or traced else [], world.faults))
    return ran


def _all(first: int, seeds: int, defect: str | None, jobs: int, traced: bool = False) -> Iterator[Ran]:
    """Every seed over the processes, in order. Whoever stops early ends them."""
    after = first + seeds
    parts = [(start, min(start + SHARE, after), defect, traced) for start in range(first, after, SHARE)]
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        for ran in pool.imap(_share, parts):
            yield from ran


def _many(given: argparse.Namespace) -> int:
    began, failing, done = time.perf_counter(), 0, 0
    faults: Counter[str] = Counter()
    for ran in _all(given.first, given.seeds, given.defect, given.jobs, given.trace):
        done += 1
        faults.update(ran.faults)
        if given.trace or (ran.found and not failing):
            print("\n".join(ran.trace))
        for sentence in ran.found[:SHOWN]:
            print(f"seed {ran.seed}: {sentence}")
        if ran.found:
            failing += 1
            print(f"again: {_again(ran.seed, given.defect)}", flush=True)
            if not given.keep_going:
                break
        if done % PROGRESS == 0:
            print(f"{done} seeds, {failing} failing, {_rate(done, began)} a minute", flush=True)
    print(", ".join(f"{name}: {count}" for name, count in sorted(faults.items())))
    print(f"{done} seeds from {given.first} on, {failing} failing, {_rate(done, began)} a minute")
    return 1 if failing else 0


def _again(seed: int, defect: str | None) -> str:
    of_defect = f" --defect {defect}" if defect else ""
    return f"python tests/simulation/run.py --first {seed} --seeds 1 --trace{of_defect}"


def _rate(done: int, began: float) -> str:
    return f"{done / (time.perf_counter() - began) * 60:.0f}"


def _find(given: argparse.Namespace, names: list[str]) -> int:
    missing = 0
    for name in names:
        ran = next((ran for ran in _all(given.first, given.seeds, name, given.jobs) if ran.found), None)
        missing += ran is None
        promise = ran.found[0].split(":")[0] if ran else ""
        print(f"{name:<25}{ran.seed if ran else 'not found':<6}{promise}", flush=True)
    return 1 if missing else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of names iterate in the order of their hashes: the same seed must be the same world in every process.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    sys.exit(main())
