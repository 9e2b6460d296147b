"""A load process and its measurer: JSON lines on stdout, and what /proc says at the moments they name.

A load process prints {"mark": "start"} and {"mark": "end", "requests": N} around its measured window, then
{"result": ...}. The measurer reads the processor time of other processes as each mark arrives.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra import tether
from infra.supervisor import module
from schemas.errors import OperationError

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Window:
    """What a load process did between its marks. `cpu_s`: seconds of user and system time by name."""

    seconds: float
    requests: int
    cpu_s: Mapping[str, float]
    result: Any

    def cpu_ms_per_request(self, *names: str) -> float:
        """Milliseconds of the named processes together. NaN where no request was answered."""
        return sum(self.cpu_s[name] for name in names) * 1000 / self.requests if self.requests else float("nan")


def mark(name: str, **more: Any) -> None:
    """Tell the measurer, from inside a load process."""
    print(json.dumps({"mark": name, **more}), flush=True)


def report(result: Any) -> None:
    """The last line of a load process."""
    print(json.dumps({"result": result}), flush=True)


def cpu_s(pid: int) -> float:
    """User and system time of all threads of a process, in steps of a clock tick (10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def rss_mb(pid: int) -> float:
    """Resident memory in units of 1e6 bytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024 / 1e6


def measured(name: str, arguments: Sequence[str], pids: Mapping[str, int], log: Path) -> Window:
    """Run the module to its end; the processor time of `pids` and of itself (name `load`) in its window.

    Raises OperationError when it fails.
    """
    command = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *module(name, *arguments)]
    with log.open("ab") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        return _window(process.stdout, {**pids, "load": process.pid}, name, log)
    finally:
        process.kill()
        process.wait()


def _window(lines: Iterable[str], pids: Mapping[str, int], module: str, log: Path) -> Window:
    at: dict[str, tuple[float, dict[str, float]]] = {}
    requests = 0
    for line in lines:
        said = json.loads(line)
        if "result" in said:
            (begun, before), (ended, after) = at["start"], at["end"]
            used = {name: after[name] - before[name] for name in pids}
            return Window(ended - begun, requests, used, said["result"])
        at[said["mark"]] = (time.monotonic(), {name: cpu_s(pid) for name, pid in pids.items()})
        requests = said.get("requests", 0)
    raise OperationError(f"The load process {module} ended without a result; see {log}.")


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; NaN of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def percentiles(name: str, values: Sequence[float]) -> dict[str, float]:
    """{name_p50, name_p95, name_p99}."""
    return {f"{name}_p{rank}": percentile(values, rank / 100) for rank in (50, 95, 99)}


def machine_ms() -> float:
    """Processor time of a million additions, the best of five: how fast this machine is while it is shared."""
    best = float("inf")
    for _ in range(5):
        before, total = time.process_time(), 0
        for number in range(1_000_000):
            total += number
        best = min(best, time.process_time() - before)
    return best * 1000
