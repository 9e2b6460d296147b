"""Run many seeds: `python tests/simulation/run.py --seeds 1000 [--start N] [--defect NAME]`.

Prints the trace of the first failing seed and one line for every further one. Exit code 1 when a promise was broken.
"""

import argparse
import gc
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    from simulation.defects import DEFECTS
    from simulation.world import simulate

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--defect", choices=sorted(DEFECTS))
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first failing seed")
    parser.add_argument("--trace", action="store_true", help="print every trace")
    given = parser.parse_args()
    # Coroutines of dead workers are collected without a running loop; what they say then means nothing.
    sys.unraisablehook = lambda *_: None
    gc.disable()
    began, failing = time.perf_counter(), 0
    for seed in range(given.start, given.start + given.seeds):
        world, found = simulate(seed, given.defect)
        if given.trace or (found and not failing):
            print("\n".join(world.trace))
        if seed % 25 == 0:
            gc.collect()
        if found:
            failing += 1
            for sentence in found[:8]:
                print(f"seed {seed}: {sentence}", flush=True)
            if not given.keep_going:
                break
    done = seed - given.start + 1
    rate = done / (time.perf_counter() - began) * 60
    print(f"{done} seeds, {failing} failing, {rate:.0f} a minute")
    return 1 if failing else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of names iterate in the order of their hashes: the same seed must be the same world in every process.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    sys.exit(main())
