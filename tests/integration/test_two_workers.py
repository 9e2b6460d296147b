"""Two workers under load, one killed and started again, one drained: one final answer each, and every event of it."""

import asyncio
import contextlib
import signal
from collections import Counter
from pathlib import Path

from loop import Bench, catalog, chat, prepared, settings_for
from processes import WorkerProcess

from infra.kafka import EmbeddedKafka
from infra.simulators.script import ProviderScript
from infra.simulators.server import start_simulators
from schemas.events import AssignmentStarted, CostIncurred, RequestCompleted

REQUESTS, RATE, DRAINED = 2_000, 100, 400
PROVIDER = ProviderScript(latency_ms=60, latency_sigma=0.3)


async def load(bench: Bench, start: int, count: int) -> None:
    """RATE requests a second, by their own schedule: what comes late is sent at once."""
    clock = asyncio.get_running_loop().time
    began = clock()
    async with asyncio.TaskGroup() as sending:
        for number in range(count):
            sending.create_task(bench.publish(chat(), request_id=f"r-{start + number}"))
            await asyncio.sleep(max(0.0, began + (number + 1) / RATE - clock()))


async def answered(bench: Bench, count: int) -> Counter[str]:
    """How often each id was answered, once `count` ids are."""
    counted: Counter[str] = Counter()
    try:
        async with asyncio.timeout(40):
            while True:
                records = await bench.records(bench.topics.requests[0].responses)
                counted = Counter(dict(record.headers)["request-id"].decode() for record in records)
                if len(counted) >= count:
                    assert {dict(record.headers)["turnout-status"] for record in records} == {b"ok"}
                    return counted
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise AssertionError(f"{len(counted)} of {count} requests are answered") from None


async def test_one_answer_each_whatever_happens_to_a_worker(kafka: EmbeddedKafka, prefix: str, tmp_path: Path) -> None:
    total = REQUESTS + DRAINED
    async with (
        await start_simulators({"a": PROVIDER, "b": PROVIDER}) as simulators,
        contextlib.AsyncExitStack() as ending,
    ):
        base = simulators.base_url("a").replace("/a/", "/{name}/")
        settings = await prepared(
            settings_for(kafka.bootstrap_servers, prefix, catalog(base, {"a": "primary", "b": "primary"}))
        )

        async def started(name: str) -> WorkerProcess:
            worker = WorkerProcess(settings, tmp_path, name)
            ending.callback(worker.signal, signal.SIGKILL)
            return await worker.start()

        async with Bench(settings) as bench:
            killed, stays = await asyncio.gather(started("killed"), started("stays"))
            async with asyncio.TaskGroup() as running:
                running.create_task(load(bench, 0, REQUESTS))
                await answered(bench, REQUESTS // 3)
                killed.signal(signal.SIGKILL)
                assert await killed.ended() == -signal.SIGKILL
                back = running.create_task(started("back"))
            assert await answered(bench, REQUESTS) == {f"r-{number}": 1 for number in range(REQUESTS)}
            async with asyncio.TaskGroup() as running:
                running.create_task(load(bench, REQUESTS, DRAINED))
                await answered(bench, REQUESTS + DRAINED // 4)
                stays.signal(signal.SIGTERM)
                assert await stays.ended() == 0
            counted = await answered(bench, total)
            back.result().signal(signal.SIGTERM)
            assert await back.result().ended() == 0
            assert counted == await answered(bench, total)
            decisions, costs = await bench.events("decisions"), await bench.events("costs")
    assert counted == {f"r-{number}": 1 for number in range(total)}
    completed = Counter(event.request_id for event in decisions if isinstance(event, RequestCompleted))
    incurred = {event.request_id for event in costs if isinstance(event, CostIncurred)}
    assert completed.keys() == incurred == counted.keys()
    owners = {event.worker for event in decisions if isinstance(event, AssignmentStarted)}
    assert len(owners) == 3
