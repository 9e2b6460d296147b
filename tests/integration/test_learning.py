"""What calls and feedback teach, on the real loop: estimates leave the priors, `adaptive` follows, reservations shrink."""

import struct
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer
from fold_events import ticked
from loop import Bench, catalog, chat, prepared, running, settings_for
from processes import HeldProvider

from agents.routing.estimates import ESTIMATE_FIELDS, MEAN_TOKENS_OUT, QUALITY, TOKENS_OUT
from infra.kafka import EmbeddedKafka
from schemas.codec import Codec
from schemas.events import CostReserved, RouteDecided
from streams.client import TurnoutClient
from streams.replay import replay

TAUGHT, SCORED, ASKED = 110, 12, 10
WIDTH = len(ESTIMATE_FIELDS)


def two_models(base_url: str) -> dict[str, Any]:
    """a and b stand side by side at one price and one quality; only what is learned tells them apart."""
    document = catalog(base_url, {"a": "primary", "b": "primary"})
    document["models"][0]["quality"] = {"code": 0.8}
    document["models"].append(document["models"][0] | {"id": "sim-other"})
    document["deployments"][1]["model"] = "sim-other"
    return document


def estimates(decision: RouteDecided) -> dict[str, tuple[float, ...]]:
    """By deployment; the catalog's indices are those of the list above."""
    rows = struct.iter_unpack(f"<{WIDTH}f", decision.estimates)
    return {"ab"[index]: row for index, row in zip(decision.candidates, rows, strict=True)}


async def test_decisions_follow_what_calls_and_feedback_taught(kafka: EmbeddedKafka, prefix: str) -> None:
    provider = HeldProvider()
    async with provider.serving():
        settings = await prepared(settings_for(
            kafka.bootstrap_servers, prefix, two_models(provider.base_url),
            routing={"strategy": "adaptive", "cost_strategy": "cost_quality"},
        ))  # fmt: skip
        async with Bench(settings) as bench, running(settings) as worker:
            await bench.publish(chat(task="code"), request_id="before")
            await bench.answer_of("before")
            taught = [f"{name}-{number}" for number in range(TAUGHT) for name in "ab"]
            for name in taught:
                await bench.publish(chat(task="code") | {"model": f"deployment:{name[0]}"}, request_id=name)
            answers = await bench.answers_of(taught, 60)
            async with TurnoutClient(kafka.bootstrap_servers, prefix) as client:
                for number in range(SCORED):
                    await client.feedback(answers[f"a-{number}"], 0.0, given_by="grader")
                    await client.feedback(answers[f"b-{number}"], 1.0, given_by="grader")
                # The first score counts: another of the same giver changes nothing.
                await client.feedback(answers["a-0"], 1.0, given_by="grader")
            await _publish_by_hand(kafka, f"{prefix}feedback")
            view = worker.view
            await bench.until(
                lambda: _scores(view, "a") == (SCORED, 0) and _scores(view, "b") == (SCORED + 1, 1000 * SCORED + 500)
            )
            await bench.until(lambda: all(_calls(view, name) >= TAUGHT for name in "ab"))
            asked = [f"after-{number}" for number in range(ASKED)]
            for name in asked:
                await bench.publish(chat(task="code"), request_id=name)
            after = await bench.answers_of(asked)
            decisions = [event for event in await bench.events("decisions") if isinstance(event, RouteDecided)]
            reserved = [event for event in await bench.events("costs") if isinstance(event, CostReserved)]
            letters = [orjson.loads(record.value) for record in await bench.records(f"{prefix}dead-letters")]
        report = await replay(settings)
    by_id = {decision.request_id: decision for decision in decisions}
    before = estimates(by_id["before"])
    assert {(row[TOKENS_OUT], round(row[QUALITY], 4)) for row in before.values()} == {(MEAN_TOKENS_OUT, 0.8)}
    assert not by_id["before"].propensities
    for name in asked:
        learned = estimates(by_id[name])
        # Every answer of the provider has five tokens.
        assert all(5 < row[TOKENS_OUT] < MEAN_TOKENS_OUT / 10 for row in learned.values())
        assert learned["a"][QUALITY] < 0.8 < learned["b"][QUALITY]
        assert any("of 64 draws" in reason for reason in by_id[name].reasons)
        assert sum(by_id[name].propensities) == 1
    # Three of the belief's standard deviations lie between them: a draw for `a` is one in a thousand.
    assert sum(after[name]["routing"]["deployment"] == "b" for name in asked) >= ASKED - 2
    held = {event.request_id: event.nano_usd for event in reserved}
    assert all(held[name] * 100 < held["before"] for name in asked)
    assert sorted(letter["length"] for letter in letters) == sorted(
        [0, len(b"junk"), len(Codec().encode(ticked(10**9)))]
    )
    assert {letter["source"]["topic"] for letter in letters} == {f"{prefix}feedback"}
    assert report.equal, report.differences[:3]
    assert report.unproven == ()


def _scores(view: Any, name: str) -> tuple[int, int]:
    buckets = view.quality[name].tasks.get("code", ()) if name in view.quality else ()
    return sum(bucket.count for bucket in buckets), sum(bucket.total for bucket in buckets)


def _calls(view: Any, name: str) -> int:
    return sum(bucket.succeeded for bucket in view.learned[name].calls["code"]) if name in view.learned else 0


async def _publish_by_hand(kafka: EmbeddedKafka, topic: str) -> None:
    """Junk, nothing and a forged tick; behind them in the same partition a plain document."""
    document = {"request_id": "b-50", "score": 0.5, "deployment": "b", "task": "code"}
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
    await producer.start()
    try:
        for value in (b"junk", None, Codec().encode(ticked(10**9)), orjson.dumps(document)):
            await producer.send_and_wait(topic, value, key=b"by hand", partition=0)
    finally:
        await producer.stop()
