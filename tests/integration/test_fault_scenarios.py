"""Sixteen faults of one provider in a row, under load, with a second deployment: clients see none of them."""

import asyncio
from collections import Counter
from typing import Any

from loop import Bench, catalog, chat, prepared, running, settings_for

from infra.kafka import EmbeddedKafka
from infra.simulators.script import ProviderScript
from infra.simulators.server import start_simulators
from schemas.events import AttemptFailed, AttemptStarted, CostIncurred
from schemas.failures import Failure

SCRIPT = ProviderScript(latency_ms=10)
REQUESTS, RATE = 50, 100
STREAM = frozenset({"stream_cut", "stream_stall", "stream_error_event"})
SCENARIOS: dict[str, set[Failure]] = {
    "refuse": {Failure.CONNECT, Failure.BAD_RESPONSE},
    "reset_before_headers": {Failure.BAD_RESPONSE},
    "hang": {Failure.TIMEOUT},
    "slow_first_byte": {Failure.TIMEOUT},
    "trickle": {Failure.TIMEOUT},
    "status_429": {Failure.RATE_LIMITED},
    "status_429_bare": {Failure.RATE_LIMITED},
    "status_500": {Failure.SERVER_ERROR},
    "status_503": {Failure.OVERLOADED},
    "status_529": {Failure.OVERLOADED},
    "garbage": {Failure.BAD_RESPONSE},
    "stream_cut": {Failure.STREAM_INTERRUPTED},
    "stream_stall": {Failure.STREAM_STALLED},
    "stream_error_event": {Failure.SERVER_ERROR},
    "empty_completion": {Failure.EMPTY_COMPLETION},
    "context_length": {Failure.CONTEXT_LENGTH},
    # The last: it takes the deployment out of service.
    "status_401": {Failure.AUTHENTICATION},
}


async def load(bench: Bench, fault: str) -> dict[str, dict[str, Any]]:
    """REQUESTS requests at RATE a second by their own schedule; their answers."""
    clock = asyncio.get_running_loop().time
    began, body = clock(), chat() | ({"stream": True} if fault in STREAM else {})
    ids = [f"{fault}-{number}" for number in range(REQUESTS)]
    async with asyncio.TaskGroup() as sending:
        for number, name in enumerate(ids):
            sending.create_task(bench.publish(body, request_id=name))
            await asyncio.sleep(max(0.0, began + (number + 1) / RATE - clock()))
    return await bench.answers_of(ids)


async def test_clients_see_no_fault_that_another_deployment_avoids(kafka: EmbeddedKafka, prefix: str) -> None:
    async with await start_simulators({"a": SCRIPT, "b": SCRIPT}) as simulators:
        base = simulators.base_url("a").replace("/a/", "/{name}/")
        document = catalog(base, {"a": "primary", "b": "secondary"})
        document["models"].append(document["models"][0] | {"id": "sim-large", "context_window": 256_000})
        faulty, good = document["deployments"]
        faulty["timeouts"] = {"first_byte_s": 0.5, "between_chunks_s": 0.5, "total_s": 2}
        good["model"] = "sim-large"
        circuit = {"probe_interval_s": 0.2}
        settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, document, circuit=circuit))
        answers: dict[str, dict[str, Any]] = {}
        async with Bench(settings) as bench, running(settings) as worker:
            for fault in SCENARIOS:
                simulators.control("a", fault)
                answers |= await load(bench, fault)
                simulators.control("a", None)

                def recovered() -> bool:
                    circuit = worker.view.circuits.get("a")
                    cooled = worker.live.cooling.get("a", 0) < worker.clock.now()
                    return cooled and (circuit is None or circuit.status == "closed")

                await bench.until(recovered)
            attempts, costs = await bench.events("attempts"), await bench.events("costs")
        bill = simulators.bill(requests=True)
    assert {name for name, answer in answers.items() if answer["routing"]["status"] != "ok"} == set()
    seen: dict[str, set[str]] = {fault: set() for fault in SCENARIOS}
    for event in attempts:
        if isinstance(event, AttemptFailed) and event.deployment == "a":
            seen[event.request_id.rpartition("-")[0]].add(event.failure)
            # The other deployment was free: it came next, whatever the failure was.
            assert event.next_action == "other", event
    for fault, failures in SCENARIOS.items():
        assert seen[fault], fault
        assert seen[fault] <= {failure.value for failure in failures}, (fault, seen[fault])
    started = [event for event in attempts if isinstance(event, AttemptStarted)]
    # Never twice to the one that failed, and never to anybody without an event before it.
    assert max(Counter((event.request_id, event.deployment) for event in started).values()) == 1
    at = {column: place for place, column in enumerate(bill["columns"])}
    called = [row for row in bill["requests"] if row[at["attempt"]] != "probe"]
    known = {f"{event.source}@{event.run}/{event.number}" for event in started}
    assert {row[at["attempt"]] for row in called} <= known
    assert len(called) == len({row[at["attempt"]] for row in called})
    # Each call is settled once.
    settled = Counter(event.cost_id for event in costs if isinstance(event, CostIncurred))
    assert settled.keys() == known
    assert set(settled.values()) == {1}
