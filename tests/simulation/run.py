"""Run many seeds: `python tests/simulation/run.py --seeds 1000 [--start N] [--defect NAME] [--jobs 2]`.

Prints the trace of the first failing seed and one line for every broken promise. Exit code 1 when one was broken.
`--only NAME:SEED ...` runs single worlds (NAME `none` is the product as it is) and prints what each broke, as JSON lines.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHOWN = 8


def main() -> int:
    from simulation.defects import DEFECTS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--defect", choices=sorted(DEFECTS))
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first failing seed")
    parser.add_argument("--trace", action="store_true", help="print every trace")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with its part of the seeds")
    parser.add_argument("--only", nargs="+", metavar="NAME:SEED")
    given = parser.parse_args()
    # Coroutines of dead workers are collected without a running loop; what they say then means nothing.
    sys.unraisablehook = lambda *_: None
    # A world is a few thousand short-lived objects: collecting between worlds is cheaper than within them.
    gc.disable()
    if given.only:
        return _only(given.only)
    return _split(given) if given.jobs > 1 else _many(given)


def _only(worlds: list[str]) -> int:
    from simulation.world import simulate

    for place in worlds:
        name, seed = place.split(":")
        world, found = simulate(int(seed), None if name == "none" else name)
        print(json.dumps({"world": place, "found": found, "trace": world.trace}))
        gc.collect()
    return 0


def _many(given: argparse.Namespace) -> int:
    from simulation.world import simulate

    began, failing, done = time.perf_counter(), 0, 0
    for seed in range(given.start, given.start + given.seeds):
        world, found = simulate(seed, given.defect)
        done += 1
        if done % 25 == 0:
            gc.collect()
        if given.trace or (found and not failing):
            print("\n".join(world.trace))
        for sentence in found[:SHOWN]:
            print(f"seed {seed}: {sentence}", flush=True)
        failing += bool(found)
        if found and not given.keep_going:
            break
    rate = done / (time.perf_counter() - began) * 60
    print(f"{done} seeds, {failing} failing, {rate:.0f} a minute")
    return 1 if failing else 0


def _split(given: argparse.Namespace) -> int:
    share = -(-given.seeds // given.jobs)
    same = ["--seeds", str(share), *(["--defect", given.defect] if given.defect else [])]
    same += ["--keep-going"] * given.keep_going + ["--trace"] * given.trace
    parts = [
        subprocess.Popen([sys.executable, sys.argv[0], *same, "--start", str(given.start + share * number)])
        for number in range(given.jobs)
    ]
    return max([part.wait() for part in parts])


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of names iterate in the order of their hashes: the same seed must be the same world in every process.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    sys.exit(main())
