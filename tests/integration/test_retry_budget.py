"""Retries in an outage of every deployment: a fifth of the calls at most, on the whole loop, by the providers' own bill."""

import asyncio
from collections import Counter

from loop import Bench, catalog, chat, prepared, running, settings_for

from agents.retry_budget import FAILING_AFTER, FLOOR, SHARE
from infra.kafka import EmbeddedKafka
from infra.simulators.script import ProviderScript
from infra.simulators.server import start_simulators
from schemas.events import AttemptFailed, AttemptStarted

REQUESTS = 120
# Circuits would end the retries first: they are held closed.
CLOSED = {"failure_threshold": 100_000, "minimum_calls": 100_000}
SCRIPT = ProviderScript(latency_ms=1)


async def test_retries_never_make_an_outage_worse(kafka: EmbeddedKafka, prefix: str) -> None:
    async with await start_simulators({"a": SCRIPT, "b": SCRIPT, "c": SCRIPT}) as simulators:
        base = simulators.base_url("a").replace("/a/", "/{name}/")
        deployments = catalog(base, {"a": "primary", "b": "secondary", "c": "primary"})
        settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, deployments, circuit=CLOSED))
        for name in "ab":
            simulators.control(name, "status_500")
        async with Bench(settings) as bench, running(settings):
            # A few beforehand, so that each deployment is known to fail when the many come at once.
            for number in range(2 * FAILING_AFTER):
                await bench.publish(chat(allow=["a", "b"]), request_id=f"before-{number}")
                await bench.answer_of(f"before-{number}")
            ids = [f"r-{number}" for number in range(REQUESTS)]
            await asyncio.gather(*(bench.publish(chat(allow=["a", "b"]), request_id=name) for name in ids))
            answers = await bench.answers_of(ids)
            attempts = await bench.events("attempts")
            # A deployment that answers takes every call that falls back to it, however many they are.
            simulators.control("b", None)
            back = [f"back-{number}" for number in range(REQUESTS)]
            await bench.publish(chat(allow=["a", "b"]), request_id="first")
            await bench.answer_of("first")
            await asyncio.gather(*(bench.publish(chat(allow=["c", "b"]), request_id=name) for name in back))
            good = await bench.answers_of(back)
        calls = {name: bill["requests"] for name, bill in simulators.bill()["providers"].items()}
    first = Counter(event.deployment for event in attempts if isinstance(event, AttemptStarted) and event.number == 1)
    extra = Counter(event.deployment for event in attempts if isinstance(event, AttemptStarted) and event.number > 1)
    calls_of = Counter(event.deployment for event in attempts if isinstance(event, AttemptStarted))
    assert first["a"] > 0
    for name in "ab":
        # The few beforehand may have left the window when the many come.
        assert extra[name] <= 2 * FLOOR + SHARE * first[name], (name, first, extra)
    assert calls["a"] >= calls_of["a"]
    held = [event for event in attempts if isinstance(event, AttemptFailed) and event.next_action == "retry_budget"]
    held = [event for event in held if event.request_id in answers]
    assert len(held) > REQUESTS // 2
    for event in held:
        answer = answers[event.request_id]
        assert answer["error"]["code"] == "all_attempts_failed"
        assert answer["routing"]["retryable"] is True
        assert "retry budget" in answer["error"]["message"]
    assert all(answer["routing"]["status"] == "ok" for answer in good.values())
