"""`python -m infra.bench.churn`: does memory grow while 1,000 calls are in flight and a tenth of them fails?

Kafka, worker, sink, simulators and the load each run in a process of their own. The load keeps --in-flight requests
waiting for their answers, so that the calls' rate is their number divided by the latency of the providers (15 s).

Once a second: the resident memory of worker and sink from /proc, and the requests under way from the worker's /metrics.
The first --settle seconds are left out: there the heap is filled for the first time, and what is kept by the minute grows
until its window is full, of which health's is the longest in a worker (15 minutes). The window in which a request is known
as a repeated one, by default 10 minutes, is half of --settle here. `worker_slope_mb_per_min` is the
least-squares slope of all samples after that; `worker_slope_mb_per_min_half` the same of their second half alone, which a
heap that is still filling makes smaller and a leak does not. `worker_rss_mb` is the highest sample, units of 1e6 bytes.
`sink_` names the same of the sink, whose engine maps 270 MB of itself and merges what was written now and then.
"""

import argparse
import asyncio
import json
import statistics
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from infra.bench.command import concluded
from infra.bench.held import hold_closed
from infra.bench.marks import machine_ms, measured, percentile, rss_mb
from infra.local import Stack, free_ports, local_stack
from schemas.errors import OperationError
from streams.topics import topics_of

LATENCY_MS = 15_000.0
FAULT_SHARE = 0.1
# Every way of failing that leaves something behind: answers, cut bodies, resets, streams of nothing, refused credentials
# aside (they would take the deployment out).
FAULTS = (
    "status_500", "status_502", "status_503", "status_529", "status_429", "status_408", "reset_before_headers",
    "reset_after_headers", "half_body", "garbage", "wrong_content_type", "invalid_utf8", "redirect", "error_in_200",
    "empty_completion",
)  # fmt: skip
PROVIDERS = ("alpha", "beta", "gamma", "local")
SAMPLE_S = 1.0


def write_scripts(path: Path) -> Path:
    """Slow providers that fail in every way, together in a tenth of the calls; the last resort does not fail."""
    slow = {"latency_ms": LATENCY_MS, "latency_sigma": 0.2}
    failing = slow | {"errors": dict.fromkeys(FAULTS, FAULT_SHARE / len(FAULTS))}
    scripts = dict.fromkeys(PROVIDERS[:-1], failing) | {PROVIDERS[-1]: slow}
    path.write_text(json.dumps(scripts))
    return path


def slope_per_min(samples: Sequence[tuple[float, float]]) -> float:
    """Least-squares slope of (seconds, value), a minute. Needs two samples at different times."""
    return statistics.linear_regression(*zip(*samples, strict=True)).slope * 60


class Sample(NamedTuple):
    """Seconds since the start, megabytes, and requests that the worker has under way."""

    at_s: float
    worker_mb: float
    sink_mb: float
    in_flight: int


class Sampler:
    """Reads worker and sink, given by their process ids, once a second in a thread."""

    def __init__(self, worker: int, sink: int, metrics: str) -> None:
        self.samples: list[Sample] = []
        self._worker, self._sink = worker, sink
        self._metrics = metrics
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        started = time.monotonic()
        while not self._ended.wait(SAMPLE_S):
            try:
                under_way = _under_way(self._metrics)
                memory = rss_mb(self._worker), rss_mb(self._sink)
            except (OSError, StopIteration, urllib.error.URLError):
                # The worker is too busy for its page, or gone: then the load says so.
                continue
            self.samples.append(Sample(time.monotonic() - started, *memory, under_way))


def _under_way(metrics: str) -> int:
    with urllib.request.urlopen(metrics, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return int(float(next(line for line in lines if line.startswith("turnout_requests_in_flight ")).split()[1]))


def run(in_flight: int, minutes: float, settle_s: float, folder: Path) -> dict[str, Any]:
    """The flat object of results. Raises OperationError when a part does not start, or there is too little to judge."""
    # The ids of a window's requests are kept on purpose: with a short one, the settling fills it.
    base: dict[str, object] = {"worker": {"max_in_flight": in_flight * 2, "dedup_window_s": settle_s / 2}}
    scripts = write_scripts(folder / "scripts.json")
    with local_stack(folder / "data", base, free_ports(), simulate=True, scripts=scripts) as stack:
        # A burst of failures must not open circuits: open ones would take the faults away.
        asyncio.run(hold_closed(stack.settings, PROVIDERS))
        samples, window = _loaded(stack, in_flight, minutes, settle_s, folder / "load.log")
        bill = _get(f"http://127.0.0.1:{stack.ports.simulators}/control/bill")["providers"]
    kept = [sample for sample in samples if sample.at_s >= settle_s]
    if len(kept) < 10:
        raise OperationError(f"Only {len(kept)} samples after {settle_s:g} s; give --minutes more.")
    busy = [float(sample.in_flight) for sample in kept]
    calls = sum(provider["requests"] - provider["probes"] for provider in bill.values())
    results = {
        "in_flight": in_flight,
        "minutes": minutes,
        "samples": len(kept),
        "answered": window.requests,
        "answered_per_s": window.requests / window.seconds,
        "errors": window.result["errors"],
        "unanswered": window.result["unanswered"],
        "calls": calls,
        "fault_share": failed_share(bill),
        "in_flight_p50": percentile(busy, 0.5),
        "in_flight_p05": percentile(busy, 0.05),
        **memory("worker", [(sample.at_s, sample.worker_mb) for sample in kept]),
        **memory("sink", [(sample.at_s, sample.sink_mb) for sample in kept]),
        "worker_cpu_ms_per_request": window.cpu_ms_per_request("worker"),
        "machine_ms": machine_ms(),
    }
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in results.items()}


def memory(process: str, samples: Sequence[tuple[float, float]]) -> dict[str, float]:
    """The highest, first and last of (seconds, MB), and their slopes."""
    return {
        f"{process}_rss_mb": max(value for _, value in samples),
        f"{process}_rss_mb_first": samples[0][1],
        f"{process}_rss_mb_last": samples[-1][1],
        f"{process}_slope_mb_per_min": slope_per_min(samples),
        f"{process}_slope_mb_per_min_half": slope_per_min(samples[len(samples) // 2 :]),
    }


def failed_share(bill: Mapping[str, Any]) -> float:
    """The share of calls, probes included, that the simulators answered with a fault."""
    outcomes = [provider["outcomes"] for provider in bill.values()]
    total = sum(sum(one.values()) for one in outcomes)
    return 1 - sum(one.get("ok", 0) for one in outcomes) / total if total else 0.0


def _loaded(stack: Stack, in_flight: int, minutes: float, settle_s: float, log: Path) -> tuple[list[Sample], Any]:
    topic = topics_of(stack.settings).requests[0]
    arguments = [
        "--servers", stack.broker.bootstrap_servers, "--topic", topic.name, "--answers", topic.responses,
        "--in-flight", str(in_flight), "--warm-up", str(settle_s), "--seconds", str(minutes * 60),
    ]  # fmt: skip
    pid = stack.children["worker"].pid
    with Sampler(pid, stack.children["sink"].pid, f"http://127.0.0.1:{stack.ports.web}/metrics") as sampler:
        window = measured("infra.bench.load", arguments, {"worker": pid}, log)
        # What comes after the last request was sent is another state: fewer and fewer calls.
        ended = settle_s + minutes * 60
    return [sample for sample in sampler.samples if sample.at_s <= ended], window


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, 1 when a part fails."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.bench.churn",
        description="Memory of worker and sink with many slow and failing calls in flight.",
        epilog="example: python -m infra.bench.churn --minutes 10 --json churn.json",
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="measured window (default 10)")
    parser.add_argument("--settle", type=float, default=960.0, help="seconds before it (default 960)")
    parser.add_argument("--in-flight", type=int, default=1_000, help="requests under way (default 1000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    given = parser.parse_args(argv)
    if given.minutes <= 0 or given.settle < 0 or given.in_flight <= 0:
        parser.error("--minutes and --in-flight must be above 0, --settle 0 or more")
    return concluded(lambda folder: run(given.in_flight, given.minutes, given.settle, folder), given.json)


if __name__ == "__main__":
    sys.exit(main())
