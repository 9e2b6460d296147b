"""`python -m infra.bench.pipeline`: what a routed request costs, whole processes on loopback, a reference in the same run.

Kafka, worker, sink, simulators (50 ms, no faults) and the load each run in a process of their own. Phases: idle; an open
loop at --rate; a closed loop for the highest rate; the reference, the same bodies straight to a simulator.

`to_provider_ms`: from the request record's broker timestamp to the call's arrival at the simulator. The acknowledgement
gives the timestamp, the bill gives the arrival in seconds since the simulators' start, and the attempt's id in the call
names the record. The start instant on the wall clock is learned from GET /control, as the mean over the quick half of
many requests: (sent + answered) / 2 - age. Errors: both ends have whole milliseconds rounded down (uvloop's clock, the
broker's stamp), +-1 ms a request and none in the mean, because the mean of the start instant carries the half
millisecond of the one and half a millisecond is added to the other; the start instant is off by less than half a
request's way, 0.3 ms. The arrival is the start of the simulator's loop round, so a busy simulator shows it early.

`answer_ms`: from the request record's to its answer's broker timestamp, without the simulated 50 ms.
CPU is user and system time from /proc over the measured window, idle work included, divided by the answered requests.
`machine_ms` (a million additions) and `load_average` tell how far two runs on a shared machine can be compared.
"""

import argparse
import json
import os
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.bench.command import concluded
from infra.bench.marks import Window, cpu_s, machine_ms, measured, percentiles, rss_mb
from infra.local import free_ports, local_stack
from streams.topics import topics_of

LATENCY_MS = 50.0
IN_FLIGHT = 200
PROBES = 200


def write_scripts(path: Path) -> Path:
    """Every simulated provider takes 50 ms and never fails."""
    script = {"latency_ms": LATENCY_MS, "latency_sigma": 0.0}
    path.write_text(json.dumps(dict.fromkeys(("alpha", "beta", "gamma", "local"), script)))
    return path


def start_instant_s(control: str) -> float:
    """When the simulators started, in seconds of the wall clock."""
    probes = []
    for _ in range(PROBES):
        sent = time.time()
        age_s = float(_get(control)["age_s"])
        answered = time.time()
        probes.append((answered - sent, (sent + answered) / 2 - age_s))
    quick = sorted(probes)[: PROBES // 2]
    return sum(start for _, start in quick) / len(quick)


def to_provider_ms(rows: Sequence[Sequence[int]], topic: str, bill: Mapping[str, Any], started_s: float) -> list[float]:
    """Of every request that was called: record to first call. `rows`: partition, offset, broker's ms, answer's ms."""
    at, attempt = bill["columns"].index("at_s"), bill["columns"].index("attempt")
    arrived: dict[str, float] = {}
    for call in bill["requests"]:
        if call[attempt]:
            source = call[attempt].partition("@")[0]
            arrived[source] = min(call[at], arrived.get(source, call[at]))
    waits = []
    for partition, offset, broker_ms, *_ in rows:
        seen = arrived.get(f"{topic}-{partition}-{offset}")
        if seen is not None:
            waits.append((started_s + seen) * 1000 - (broker_ms + 0.5))
    return waits


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def run(rate: float, seconds: float, *, split: bool, folder: Path) -> dict[str, Any]:
    """All phases; the flat object of results. Raises OperationError when a part does not start."""
    scripts = write_scripts(folder / "scripts.json")
    base: dict[str, object] = {"worker": {"max_in_flight": 1000}}
    ports = free_ports() if split else replace(free_ports(), projector_web=0)
    with local_stack(folder / "data", base, ports, simulate=True, scripts=scripts) as stack:
        roles = {"router": "worker", "projector": "projector"} if split else {"worker": "worker"}
        pids: dict[str, int] = {role: stack.children[child].pid for role, child in roles.items()}
        pids |= {"sink": stack.children["sink"].pid, "broker": stack.broker.pid}
        names = tuple(roles)
        topic = topics_of(stack.settings).requests[0]
        control = f"http://127.0.0.1:{stack.ports.simulators}/control"
        log = folder / "load.log"
        where = ["--servers", stack.broker.bootstrap_servers, "--topic", topic.name, "--answers", topic.responses]
        warm_up = min(3.0, seconds / 4)

        def load(*arguments: object) -> Window:
            return measured("infra.bench.load", [*where, *(str(item) for item in arguments)], pids, log)

        idle = _idle_ms_per_s(pids, names, min(3.0, seconds / 4))
        steady = load("--rate", rate, "--warm-up", warm_up, "--seconds", seconds)
        started_s = start_instant_s(control)
        bill = _get(f"{control}/bill?requests=1")
        most = load("--in-flight", IN_FLIGHT, "--warm-up", warm_up, "--seconds", min(15.0, seconds))
        rss = sum(rss_mb(pids[name]) for name in names)
        url = f"http://127.0.0.1:{stack.ports.simulators}/alpha/v1/chat/completions"
        few = ["--url", url, "--rate", str(rate), "--warm-up", str(warm_up), "--seconds", str(min(10.0, seconds))]
        direct = measured("infra.bench.direct", few, {}, log)
    rows = steady.result["rows"]
    answers = [row[3] - row[2] - LATENCY_MS for row in rows if row[3] is not None]
    results = {
        "rate_per_s": rate,
        "seconds": seconds,
        "split": split,
        "requests": steady.requests,
        "errors": steady.result["errors"] + most.result["errors"] + direct.result["errors"],
        "unanswered": steady.result["unanswered"] + most.result["unanswered"],
        "worker_cpu_ms_per_request": steady.cpu_ms_per_request(*names),
        **({f"{name}_cpu_ms_per_request": steady.cpu_ms_per_request(name) for name in names} if split else {}),
        "sink_cpu_ms_per_request": steady.cpu_ms_per_request("sink"),
        "broker_cpu_ms_per_request": steady.cpu_ms_per_request("broker"),
        "worker_idle_cpu_ms_per_s": idle,
        **percentiles("to_provider_ms", to_provider_ms(rows, topic.name, bill, started_s)),
        **percentiles("answer_ms", answers),
        "max_rate_per_s": most.requests / most.seconds,
        "max_rate_in_flight": IN_FLIGHT,
        "max_rate_worker_cpu_ms_per_request": most.cpu_ms_per_request(*names),
        "worker_rss_mb": rss,
        "direct_cpu_ms_per_request": direct.cpu_ms_per_request("load"),
        "machine_ms": machine_ms(),
        "load_average": os.getloadavg()[0],
        **percentiles("direct_ms", [took - LATENCY_MS for took in direct.result["took_ms"]]),
    }
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in results.items()}


def _idle_ms_per_s(pids: Mapping[str, int], names: Sequence[str], seconds: float) -> float:
    """Milliseconds of processor time that the worker takes in a second without requests."""
    before, began = sum(cpu_s(pids[name]) for name in names), time.monotonic()
    time.sleep(seconds)
    return (sum(cpu_s(pids[name]) for name in names) - before) * 1000 / (time.monotonic() - began)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, 1 when a part fails."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.bench.pipeline",
        description="CPU and latency of a routed request, whole processes on this machine.",
        epilog="example: python -m infra.bench.pipeline --split --json pipeline.json",
    )
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second of the open loop (default 300)")
    parser.add_argument("--seconds", type=float, default=20.0, help="its measured window (default 20)")
    parser.add_argument("--split", action="store_true", help="router and projector as two processes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    given = parser.parse_args(argv)
    if given.rate <= 0 or given.seconds <= 0:
        parser.error("--rate and --seconds must be above 0")
    return concluded(lambda folder: run(given.rate, given.seconds, split=given.split, folder=folder), given.json)


if __name__ == "__main__":
    sys.exit(main())
