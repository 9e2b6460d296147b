"""`python -m infra.bench.failover`: how long a failure keeps a request waiting, and how punctual a deadline is.

Kafka, worker and load each run in a process of their own; the providers run here, and look at this machine's monotonic
clock. Two phases at --rate requests a second:

`failover_ms`: every request's first deployment answers 500. From the moment that this answer is handed to the socket to
the moment that the second deployment has the next call's head: reading the failure, deciding, both rounds of events
acknowledged (AttemptFailed and CostIncurred with the next AttemptStarted and CostReserved), sending. Both ways of the
loopback are in it.
`produce_ms` in the same seconds: a plain record to a topic of one partition from send to acknowledgement (acks=all, no
linger), by a producer in this process: what one round to this broker costs here. `idle_produce_ms`: the same before.

`deadline_overshoot_ms`: every request has a deadline of 400 ms and its deployment never answers. From the deadline to the
broker's timestamp of the final answer, so the writing of events and answer is in it. Both timestamps are whole
milliseconds: +-1 ms. `left_open`: calls of that phase that the worker had not closed when it had answered.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.bench.command import concluded
from infra.bench.held import hold_closed
from infra.bench.marks import Window, machine_ms, measured, percentiles
from infra.local import Stack, free_ports, local_stack
from infra.ports import free_port
from streams.topics import topics_of

DEADLINE_MS = 400
ANSWER_MS = 20.0
WARM_UP_S = 3.0
PRODUCE_EVERY_S = 0.02
QUESTION = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 16}
COMPLETION = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
}  # fmt: skip
REFERENCE = "bench.reference"


@dataclass
class Providers:
    """Three deployments. Moments are seconds of the monotonic clock by the request's place and run."""

    failed: dict[str, float] = field(default_factory=dict)
    called: dict[str, float] = field(default_factory=dict)
    open: int = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        arrived = time.monotonic()
        of, _, number = request.headers["x-turnout-attempt"].partition("/")
        name = request.path.split("/")[1]
        await request.read()
        if name == "failing":
            response = web.json_response({"error": {"message": "m", "type": "server_error"}}, status=500)
            self.failed[of] = time.monotonic()
            return response
        if name == "silent":
            self.open += 1
            try:
                await asyncio.Event().wait()
            finally:
                self.open -= 1
        if number == "2":
            self.called[of] = arrived
        await asyncio.sleep(ANSWER_MS / 1000)
        return web.json_response(COMPLETION)

    def waits_ms(self) -> list[float]:
        """From a failure to the next call, of every request that has both, but for those of the warm-up."""
        begin = min(self.failed.values(), default=0.0) + WARM_UP_S
        return [(self.called[of] - at) * 1000 for of, at in self.failed.items() if of in self.called and at >= begin]


@contextlib.asynccontextmanager
async def serving(providers: Providers, port: int) -> AsyncIterator[None]:
    # handler_cancellation: a caller that leaves is seen at once.
    runner = web.ServerRunner(web.Server(providers.answer, access_log=None, handler_cancellation=True))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, backlog=2048).start()
        yield
    finally:
        await runner.cleanup()


def document(port: int) -> dict[str, object]:
    """`failing` and `silent` are asked for by name; circuits stay closed as if their failures were news each time."""
    limits = {"first_byte_s": 20, "total_s": 30}
    deployments = [
        {"id": name, "provider": "openai_compatible", "model": model, "base_url": f"http://127.0.0.1:{port}/{name}/v1",
         "timeouts": limits}
        for name, model in (("failing", "m"), ("good", "m"), ("silent", "quiet"))
    ]  # fmt: skip
    price = {"input": 0.25, "output": 2.0}
    models = [{"id": name, "capabilities": ["streaming"], "price_usd_per_million": price} for name in ("m", "quiet")]
    return {
        "catalog": {"models": models, "deployments": deployments},
        "routing": {"strategy": "cost", "balancer": "round_robin", "cost_strategy": "minimize"},
        "worker": {"max_in_flight": 2_000},
    }


async def created(servers: str) -> None:
    """The reference's topic: one partition, one copy."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(REFERENCE, 1, 1)])
    finally:
        await admin.close()


async def round_trips(producer: AIOKafkaProducer, into: list[float]) -> None:
    """One record every 20 ms, for ever; milliseconds until it was acknowledged."""
    while True:
        sent = time.monotonic()
        await producer.send_and_wait(REFERENCE, b"x" * 400)
        into.append((time.monotonic() - sent) * 1000)
        await asyncio.sleep(PRODUCE_EVERY_S)


async def phases(stack: Stack, providers: Providers, rate: float, seconds: float, folder: Path) -> dict[str, Any]:
    """Both phases, with the reference beside the first."""
    servers, topic = stack.broker.bootstrap_servers, topics_of(stack.settings).requests[0]
    await hold_closed(stack.settings, ("failing", "silent"))
    await created(servers)

    async def load(body: dict[str, Any]) -> Window:
        arguments = [
            "--servers", servers, "--topic", topic.name, "--answers", topic.responses, "--rate", str(rate),
            "--warm-up", str(WARM_UP_S), "--seconds", str(seconds), "--body", json.dumps(body),
        ]  # fmt: skip
        pids = {"worker": stack.children["worker"].pid}
        return await asyncio.to_thread(measured, "infra.bench.load", arguments, pids, folder / "load.log")

    produce_ms: list[float] = []
    idle_ms: list[float] = []
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all", linger_ms=0) as producer:
        await producer.send_and_wait(REFERENCE, b"first")
        await _beside(round_trips(producer, idle_ms), asyncio.sleep(min(5.0, seconds)))
        failing = await _beside(round_trips(producer, produce_ms), load({**QUESTION, "model": "deployment:failing"}))
        late = await load(
            {**QUESTION, "model": "deployment:silent", "routing": {"fallback": False, "deadline_ms": DEADLINE_MS}}
        )
    left_open, waits = providers.open, providers.waits_ms()
    overshoot = [row[3] - row[2] - DEADLINE_MS for row in late.result["rows"] if row[3] is not None]
    results = {
        "rate_per_s": rate,
        "seconds": seconds,
        "failovers": len(waits),
        "errors": failing.result["errors"],
        "unanswered": failing.result["unanswered"] + late.result["unanswered"],
        **percentiles("failover_ms", waits),
        **percentiles("produce_ms", produce_ms),
        **percentiles("idle_produce_ms", idle_ms),
        "worker_cpu_ms_per_request": failing.cpu_ms_per_request("worker"),
        "deadline_requests": len(overshoot),
        "answered_before_deadline": sum(value < -1 for value in overshoot),
        **percentiles("deadline_overshoot_ms", overshoot),
        "left_open": left_open,
        "machine_ms": machine_ms(),
    }
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in results.items()}


async def _beside(lasting: Any, work: Awaitable[Any]) -> Any:
    task = asyncio.create_task(lasting)
    try:
        return await work
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def run(rate: float, seconds: float, folder: Path) -> dict[str, Any]:
    """The flat object of results. Raises OperationError when a part does not start."""
    port, providers = free_port(), Providers()
    with local_stack(folder / "data", document(port), free_ports(), simulate=False) as stack:

        async def all_of_it() -> dict[str, Any]:
            async with serving(providers, port):
                return await phases(stack, providers, rate, seconds, folder)

        return asyncio.run(all_of_it())


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, 1 when a part fails."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.bench.failover",
        description="From a failure to the next call, and from a deadline to its answer.",
        epilog="example: python -m infra.bench.failover --json failover.json",
    )
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second (default 100)")
    parser.add_argument("--seconds", type=float, default=20.0, help="measured window of each phase (default 20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    given = parser.parse_args(argv)
    if given.rate <= 0 or given.seconds <= 0:
        parser.error("--rate and --seconds must be above 0")
    return concluded(lambda folder: run(given.rate, given.seconds, folder), given.json)


if __name__ == "__main__":
    sys.exit(main())
