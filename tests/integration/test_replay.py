"""State is a fold of the log: replayed from the beginning, or from any published state onward, it is the same bytes."""

import asyncio
import contextlib
import signal
import subprocess
from dataclasses import replace as changed
from pathlib import Path

from aiokafka import AIOKafkaProducer
from loop import Bench, catalog, chat, prepared, settings_for, write_settings
from processes import WorkerProcess

from infra.kafka import EmbeddedKafka
from infra.simulators.script import ProviderScript
from infra.simulators.server import start_simulators
from infra.supervisor import turnout
from schemas.codec import Codec
from schemas.events import BudgetSet, CircuitEvent, CircuitForced, DeploymentSwitched
from schemas.policy import CircuitPolicy
from schemas.snapshots import Snapshot
from streams.apply import publish_control
from streams.clock import BrokerClock
from streams.replay import replay
from streams.settings import Settings

FAST = ProviderScript(latency_ms=10, latency_sigma=0.3)


async def load(bench: Bench, count: int, start: int) -> None:
    """Requests of three tenants, about 60 a second."""
    for number in range(start, start + count):
        await bench.publish(chat(tenant=f"tenant-{number % 3}"), request_id=f"r-{number}")
        await asyncio.sleep(1 / 60)


async def commands(settings: Settings) -> None:
    origin = {"event_id": "test", "occurred_at": 0, "worker": "", "author": "test"}
    await publish_control(settings, Codec(), BrokerClock(), [
        BudgetSet(**origin, scope="tenant:tenant-1", period="hour", limit_nano_usd=1_000, at_limit=""),
        CircuitForced(**origin, deployment="c", position="open"),
        DeploymentSwitched(**origin, deployment="c", on=False),
    ])  # fmt: skip


async def test_replay_equals_every_published_state(kafka: EmbeddedKafka, prefix: str, tmp_path: Path) -> None:
    async with await start_simulators(dict.fromkeys("abc", FAST)) as simulators, contextlib.AsyncExitStack() as ending:
        base = simulators.base_url("a").replace("/a/", "/{name}/")
        settings = await prepared(settings_for(
            kafka.bootstrap_servers, prefix, catalog(base, {"a": "primary", "b": "primary", "c": "secondary"}),
            circuit={"failure_threshold": 3, "success_threshold": 2, "probe_interval_s": 0.5},
            budgets=[{"scope": "global", "period": "day", "limit_usd": 1}, {"scope": "tenant:tenant-0", "limit_usd": 5}],
        ))  # fmt: skip
        async with Bench(settings) as bench:
            first = await WorkerProcess(settings, tmp_path, "first").start()
            ending.callback(first.signal, signal.SIGKILL)
            await load(bench, 100, 0)
            simulators.control("a", "status_500")
            simulators.control("b", "status_503", share=0.3)
            second = await WorkerProcess(settings, tmp_path, "second").start()
            ending.callback(second.signal, signal.SIGKILL)
            await load(bench, 60, 100)
            first.signal(signal.SIGKILL)
            await first.ended()
            await commands(settings)
            await load(bench, 60, 160)
            simulators.control("a", None)
            simulators.control("b", None)
            await load(bench, 60, 220)
            answers = await bench.answers(280)
            async with asyncio.timeout(60):
                while not {"CircuitOpened", "CircuitClosed"} <= {
                    type(e).__name__ for e in await bench.events("transitions") if isinstance(e, CircuitEvent)
                }:
                    await asyncio.sleep(0.2)
            second.signal(signal.SIGTERM)
            assert await second.ended() == 0
            assert len(answers) == 280
        report = await replay(settings)
        assert report.unproven == ()
        assert report.differences == ()
        assert report.records > 800
        assert report.snapshots > 50
        assert report.starts >= 6
        assert report.compared > 3 * report.snapshots
        # What is in force comes from llm.control: another file says nothing.
        other = settings.model_copy(update={"circuit": CircuitPolicy(failure_threshold=1, open_s=1), "budgets": ()})
        assert await replay(other) == report
        # To the offset of a budget's change, which came under load, twice and under both files: the same bytes.
        async with Bench(settings) as bench:
            until = next(
                record.timestamp * 1000 for record in await bench.records(bench.topics.name("control"))
                if isinstance(Codec().decode(record.value), BudgetSet)
            )  # fmt: skip
        cut = await replay(settings, until)
        assert cut == await replay(settings, until) == await replay(other, until)
        assert cut.equal
        assert 0 < cut.records < report.records
        assert cut.digest != report.digest
        path = write_settings(other, tmp_path / "other.yaml")
        shown = await asyncio.to_thread(
            subprocess.run, turnout("replay", "--config", str(path)), capture_output=True, text=True, check=False
        )
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "equal" in shown.stdout
        assert f"{report.compared} comparisons" in shown.stdout
        assert report.digest in shown.stdout
        await forge(settings)
        forged = await replay(settings)
        assert not forged.equal
        assert forged.digest == report.digest
        assert {difference.key.split(":")[1] for difference in forged.differences} == {"circuit"}
        shown = await asyncio.to_thread(
            subprocess.run,
            turnout("replay", "--config", str(path), "--json"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert shown.returncode == 1
        assert '"equal":false' in shown.stdout


async def forge(settings: Settings) -> None:
    """Publish a circuit's state that the log does not say: a replay must find it."""
    codec = Codec()
    async with Bench(settings) as bench:
        topic = bench.topics.name("state")
        records = [record for record in await bench.records(topic) if record.value is not None]
    decoded = [(record, codec.decode(record.value)) for record in records]
    record, snapshot = next(
        (record, item) for record, item in reversed(decoded) if isinstance(item, Snapshot) and item.kind == "circuit"
    )
    false = changed(snapshot, value=snapshot.value.replace(b'"epoch":', b'"epoch":9'))
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers)
    await producer.start()
    try:
        await producer.send_and_wait(topic, codec.encode(false), key=record.key, partition=record.partition)
    finally:
        await producer.stop()
