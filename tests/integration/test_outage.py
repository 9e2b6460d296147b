"""A provider fails under traffic: no client sees it, its circuit opens, probes find its recovery, traffic returns."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from loop import Bench, catalog, chat, prepared, running, settings_for

from infra.kafka import EmbeddedKafka
from infra.simulators.script import ProviderScript
from infra.simulators.server import RunningSimulators, start_simulators
from schemas.events import AttemptFailed, AttemptStarted, AttemptSucceeded, CircuitEvent, RouteDecided

FAST = ProviderScript(latency_ms=5, latency_sigma=0.1)
RATE = 40
POLICY = {"failure_threshold": 5, "success_threshold": 3, "probe_interval_s": 1}


class Traffic:
    """Publishes RATE requests a second until stopped. `ids`: what was published."""

    def __init__(self, bench: Bench) -> None:
        self.ids: list[str] = []
        self._bench = bench

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator["Traffic"]:
        task = asyncio.create_task(self._flow())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def more(self, count: int) -> None:
        """Wait until so many more are published."""
        wanted = len(self.ids) + count
        await self._bench.until(lambda: len(self.ids) >= wanted)

    async def _flow(self) -> None:
        while True:
            name = f"t-{len(self.ids)}"
            await asyncio.shield(self._bench.publish(chat(), request_id=name))
            self.ids.append(name)
            await asyncio.sleep(1 / RATE)


def ordinary(simulators: RunningSimulators, name: str) -> int:
    """Calls of clients' requests that the provider saw: a probe asks for one token."""
    sums = simulators.bill()["providers"][name]
    return int(sums["requests"] - sums["probes"])


def probes(simulators: RunningSimulators, name: str) -> int:
    return int(simulators.bill()["providers"][name]["probes"])


async def test_an_outage_is_not_seen_and_ends_by_itself(kafka: EmbeddedKafka, prefix: str) -> None:
    async with await start_simulators({"a": FAST, "b": FAST}) as simulators:
        base = simulators.base_url("a").replace("/a/", "/{name}/")
        settings = await prepared(settings_for(
            kafka.bootstrap_servers, prefix, catalog(base, {"a": "primary", "b": "primary"}), circuit=POLICY
        ))  # fmt: skip
        async with Bench(settings) as bench, running(settings) as worker, Traffic(bench).flowing() as traffic:
            circuits = worker.view.circuits
            await bench.until(lambda: ordinary(simulators, "a") > 20)
            simulators.control("a", "status_500")
            await bench.until(lambda: "a" in circuits and circuits["a"].status == "open")
            # What was decided before this worker knew is let through.
            await bench.until(lambda: worker.live.calls.total["a"] == 0)
            called, probed = ordinary(simulators, "a"), probes(simulators, "a")
            await bench.until(lambda: probes(simulators, "a") >= probed + 2)
            await traffic.more(RATE)
            assert ordinary(simulators, "a") == called
            simulators.control("a", None)
            await bench.until(lambda: circuits["a"].status == "closed")
            called = ordinary(simulators, "a")
            await bench.until(lambda: ordinary(simulators, "a") > called + 10)
            await bench.until(lambda: worker.tasks.completed == len(traffic.ids) > 0)
            await traffic.more(1)
            answers = await bench.answers(len(traffic.ids))
            transitions = [e for e in await bench.events("transitions") if isinstance(e, CircuitEvent)]
            attempts = [e for e in await bench.events("attempts") if getattr(e, "deployment", "") == "a"]
            records = {
                f"{record.topic}-{record.partition}-{record.offset}": number
                for number, record in enumerate(
                    sorted(await bench.records(bench.topics.name("attempts")), key=lambda r: (r.partition, r.offset))
                )
            }
            order = [event.event_id for event in await bench.events("attempts")]
    assert {headers["turnout-status"] for _, headers in answers} == {"ok"}
    assert [(type(e).__name__, e.epoch) for e in transitions] == [
        ("CircuitOpened", 1), ("CircuitHalfOpened", 2), ("CircuitClosed", 3),
    ]  # fmt: skip
    # It opened at the fifth failure in a row, at once.
    outcomes = [e for e in attempts if isinstance(e, AttemptFailed | AttemptSucceeded)]
    fifth = next(
        last for *_, last in zip(*(outcomes[k:] for k in range(5)), strict=False)
        if all(isinstance(e, AttemptFailed) for e in outcomes[outcomes.index(last) - 4 : outcomes.index(last) + 1])
    )  # fmt: skip
    assert order[records[transitions[0].derived_from]] == fifth.event_id
    # After that only what was in flight failed: each was sent under the epoch of before.
    late = outcomes[outcomes.index(fifth) + 1 :]
    assert all(e.circuit_epoch == 0 for e in late if isinstance(e, AttemptFailed))
    assert all(e.trial for e in attempts if isinstance(e, AttemptStarted) and e.circuit_epoch == 2)


async def test_with_everything_down_a_last_resort_call_is_made_and_the_id_may_run_again(
    kafka: EmbeddedKafka, prefix: str
) -> None:
    async with await start_simulators({"a": FAST, "b": FAST}) as simulators:
        base = simulators.base_url("a").replace("/a/", "/{name}/")
        settings = await prepared(settings_for(
            kafka.bootstrap_servers, prefix, catalog(base, {"a": "primary", "b": "secondary"}), circuit=POLICY
        ))  # fmt: skip
        async with Bench(settings) as bench, running(settings) as worker:
            circuits = worker.view.circuits
            for name in ("a", "b"):
                simulators.control(name, "status_500")
            sent = 0
            while not all(name in circuits and circuits[name].status == "open" for name in ("a", "b")):
                await bench.publish(chat(), request_id=f"down-{sent}")
                sent += 1
                await bench.until(lambda: worker.tasks.completed == sent)  # noqa: B023
            called = {name: ordinary(simulators, name) for name in ("a", "b")}
            await bench.publish(chat(), request_id="last")
            error = await bench.answer_of("last")
            # The one that sleeps longest is woken, and no other; a second try is on it too.
            made = [ordinary(simulators, name) - called[name] for name in ("a", "b")]
            assert min(made) == 0
            assert max(made) == len(error["routing"]["attempts"]) > 0
            assert (error["error"]["code"], error["routing"]["retryable"]) == ("all_attempts_failed", True)
            assert error["routing"]["retry_after_ms"] > 0
            decided = [
                e for e in await bench.events("decisions") if isinstance(e, RouteDecided) and e.request_id == "last"
            ]
            assert any("gets one call" in reason for reason in decided[0].reasons)
            for name in ("a", "b"):
                simulators.control(name, None)
            await bench.until(lambda: all(circuits[name].status == "closed" for name in ("a", "b")))
            await bench.publish(chat(), request_id="last")
            await bench.until(lambda: worker.tasks.completed == sent + 2)
            answers = await bench.answers(sent + 2)
    of_last = [headers["turnout-status"] for _, headers in answers if headers["request-id"] == "last"]
    assert sorted(of_last) == ["error", "ok"]
    assert len({headers["request-id"] for _, headers in answers}) == sent + 1
    assert all(
        body["error"]["code"] == "all_attempts_failed"
        for body, headers in answers
        if headers["turnout-status"] == "error"
    )
