"""Rate limits at a provider that enforces them: two workers keep to them together, and a provider's own word is enough."""

import asyncio
from typing import Any

from loop import Bench, catalog, chat, prepared, running, settings_for

from infra.kafka import EmbeddedKafka
from infra.simulators.script import ProviderScript
from infra.simulators.server import start_simulators
from schemas.events import AttemptStarted

LIMIT, REQUESTS = 80, 240


def outcomes(simulators: Any, name: str) -> dict[str, int]:
    found: dict[str, int] = simulators.bill()["providers"][name]["outcomes"]
    return found


async def test_two_workers_share_a_limit(kafka: EmbeddedKafka, prefix: str) -> None:
    """The provider says nothing of its limits here but 429; what does not fit goes to the other deployment."""
    scripts = {"a": ProviderScript(latency_ms=20, requests_per_minute=LIMIT), "b": ProviderScript(latency_ms=20)}
    async with await start_simulators(scripts) as simulators:
        base = simulators.base_url("a").replace("/a/", "/{name}/")
        document = catalog(base, {"a": "primary", "b": "secondary"})
        document["deployments"][0]["limits"] = {"requests_per_minute": LIMIT}
        settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, document))
        async with Bench(settings) as bench, running(settings) as one, running(settings) as other:
            await bench.until(lambda: one.live.workers == other.live.workers == 2 and one.tasks and other.tasks)
            await bench.until(lambda: all(len(worker.tasks.ownership.runs) == 1 for worker in (one, other)))
            ids = [f"r-{number}" for number in range(REQUESTS)]
            for at in range(0, REQUESTS, 20):
                await asyncio.gather(
                    *(bench.publish(chat(), request_id=name, partition=at // 20 % 2) for name in ids[at : at + 20])
                )
                await asyncio.sleep(0.4)
            answers = await bench.answers_of(ids)
            attempts = await bench.events("attempts")
        billed, beside = outcomes(simulators, "a"), outcomes(simulators, "b")
    assert all(answer["routing"]["status"] == "ok" for answer in answers.values())
    assert {event.worker for event in attempts if isinstance(event, AttemptStarted)} == {one.name, other.name}
    assert billed.get("rate_limited", 0) <= 2, billed
    # Most of the limit is used, and what is above it was never sent there.
    assert LIMIT // 2 <= billed["ok"] <= LIMIT
    assert beside["ok"] >= REQUESTS - LIMIT


async def test_what_a_provider_says_is_left_is_heeded(kafka: EmbeddedKafka, prefix: str) -> None:
    """No limit is configured: the headers of good answers alone keep traffic off before the first 429."""
    scripts = {"a": ProviderScript(latency_ms=5, requests_per_minute=10), "b": ProviderScript(latency_ms=5)}
    async with await start_simulators(scripts) as simulators:
        base = simulators.base_url("a").replace("/a/", "/{name}/")
        settings = await prepared(
            settings_for(kafka.bootstrap_servers, prefix, catalog(base, {"a": "primary", "b": "secondary"}))
        )
        async with Bench(settings) as bench, running(settings) as worker:
            for number in range(14):
                await bench.publish(chat(), request_id=f"r-{number}")
                await bench.answer_of(f"r-{number}")
            last = await bench.answer_of("r-13")
            cooling = worker.live.cooling["a"] - worker.clock.now()
        billed, beside = outcomes(simulators, "a"), outcomes(simulators, "b")
    assert (billed, beside) == ({"ok": 10}, {"ok": 4})
    assert cooling > 0
    assert any("a left out" in reason for reason in last["routing"]["reasons"])
