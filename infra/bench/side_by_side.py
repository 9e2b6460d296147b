"""`python -m infra.bench.side_by_side --litellm DIR --portkey DIR`: Turnout beside other routers, one after the other.

Every router stands alone on the machine with the same simulators (50 ms, no faults), the same bodies and a client in a
process of its own. Turnout is everything it takes: Kafka with its durable log, router, projector and sink. The others
keep no log. For each: an open loop at --rate, then a closed loop of --in-flight callers for --seconds.

`NAME_added_ms`: what a caller waits beyond the provider's 50 ms, from handing the request over to holding the answer.
`NAME_cpu_ms_per_request`: user and system time of all the router's processes at --rate, divided by the answers;
`NAME_max_rate_per_s`: answers a second of the closed loop, client and simulators on the same machine.
`direct_*` is the client straight to the simulator. Packages: `pip install --target DIR "litellm[proxy]==1.106.2"`;
`npm install @portkey-ai/gateway@1.15.2` in DIR. An absent option leaves that router out.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.bench.command import concluded
from infra.bench.gateways import Gateway, litellm, portkey, running
from infra.bench.marks import Window, machine_ms, measured, percentiles
from infra.bench.pipeline import LATENCY_MS, write_scripts
from infra.local import Stack, free_ports, local_stack
from infra.ports import free_port
from infra.supervisor import module
from streams.topics import topics_of

WARM_UP_S = 3.0


def results_of(
    name: str, pids: Mapping[str, int], steady: Window, most: Window, took_ms: Sequence[float]
) -> dict[str, Any]:
    """The flat keys of one router. `took_ms`: of every call of the open loop's window."""
    return {
        **percentiles(f"{name}_added_ms", [took - LATENCY_MS for took in took_ms]),
        f"{name}_cpu_ms_per_request": steady.cpu_ms_per_request(*pids),
        f"{name}_max_rate_per_s": most.requests / most.seconds,
        f"{name}_max_rate_cpu_ms_per_request": most.cpu_ms_per_request(*pids),
        f"{name}_errors": steady.result["errors"] + most.result["errors"],
    }


class Measurement:
    """One run's options: requests a second, callers at once, seconds of each window."""

    def __init__(self, rate: float, in_flight: int, seconds: float, folder: Path) -> None:
        self.loops = (["--rate", str(rate)], ["--in-flight", str(in_flight)])
        self.window = ["--warm-up", str(WARM_UP_S), "--seconds", str(seconds)]
        self.log = folder / "load.log"

    def http(
        self, name: str, url: str, pids: Mapping[str, int], model: str, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        """Of whatever answers chat completions at `url`."""
        where = ["--url", url, "--model", model, *(f"--header={key}={value}" for key, value in headers.items())]
        steady, most = (
            measured("infra.bench.direct", [*where, *loop, *self.window], pids, self.log) for loop in self.loops
        )
        return results_of(name, pids, steady, most, steady.result["took_ms"])

    def topics(self, stack: Stack) -> dict[str, Any]:
        """Of Turnout, by its topics."""
        topic = topics_of(stack.settings).requests[0]
        where = ["--servers", stack.broker.bootstrap_servers, "--topic", topic.name, "--answers", topic.responses]
        pids = {name: stack.children[name].pid for name in ("worker", "projector", "sink")} | {
            "broker": stack.broker.pid
        }
        steady, most = (
            measured("infra.bench.load", [*where, *loop, *self.window], pids, self.log) for loop in self.loops
        )
        took_ms = [row[4] for row in steady.result["rows"] if row[4] is not None]
        unanswered = steady.result["unanswered"] + most.result["unanswered"]
        return results_of("turnout", pids, steady, most, took_ms) | {"turnout_unanswered": unanswered}


def run(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every router in turn. Raises OperationError when one does not start."""
    measurement = Measurement(given.rate, given.in_flight, given.seconds, folder)
    found: dict[str, Any] = {"rate_per_s": given.rate, "in_flight": given.in_flight, "seconds": given.seconds}
    base: dict[str, object] = {"worker": {"max_in_flight": 1000}}
    scripts = write_scripts(folder / "scripts.json")
    with local_stack(folder / "data", base, free_ports(), simulate=True, scripts=scripts) as stack:
        found |= measurement.topics(stack)
    # The same simulators for the others, without Kafka beside them.
    port = free_port()
    command = module("infra.simulators", "--port", str(port), "--script", str(scripts))
    url = f"http://127.0.0.1:{port}/alpha/v1/chat/completions"
    simulators = Gateway("simulators", url, command, f"http://127.0.0.1:{port}/control")
    with running(simulators, folder):
        found |= measurement.http("direct", url, {}, simulators.model, {})
        for gateway in _gateways(given, folder, port):
            with running(gateway, folder) as processes:
                pids = {f"{gateway.name}-{pid}": pid for pid in processes}
                found |= measurement.http(gateway.name, gateway.url, pids, gateway.model, gateway.headers)
    found |= {"machine_ms": machine_ms(), "load_average": os.getloadavg()[0]}
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()}


def _gateways(given: argparse.Namespace, folder: Path, simulators: int) -> list[Gateway]:
    gateways = []
    if given.litellm:
        gateways.append(litellm(given.litellm, folder, simulators, free_port(), given.litellm_workers))
    if given.portkey:
        gateways.append(portkey(given.portkey, simulators, free_port()))
    return gateways


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, 1 when a part fails."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.bench.side_by_side",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--litellm", type=Path, metavar="DIR", help="where LiteLLM is installed")
    parser.add_argument(
        "--litellm-workers", type=int, default=1, help="processes of its proxy (default 1, its own default)"
    )
    parser.add_argument("--portkey", type=Path, metavar="DIR", help="where Portkey's gateway is installed")
    parser.add_argument("--rate", type=float, default=30.0, help="requests a second of the open loop (default 30)")
    parser.add_argument("--in-flight", type=int, default=100, help="callers of the closed loop (default 100)")
    parser.add_argument("--seconds", type=float, default=15.0, help="each measured window (default 15)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    given = parser.parse_args(argv)
    return concluded(lambda folder: run(given, folder), given.json)


if __name__ == "__main__":
    sys.exit(main())
