"""Hedging on the loop: a late call of an interactive request gets a second one beside it, and the loser is accounted."""

import asyncio

import orjson
from loop import Bench, catalog, chat, prepared, running, settings_for

from agents.hedging import late_after_ms
from infra.kafka import EmbeddedKafka
from infra.simulators.script import ProviderScript
from infra.simulators.server import start_simulators
from schemas.events import AttemptAbandoned, CostIncurred, CostReserved

SCRIPT = ProviderScript(latency_ms=10)
BEFORE = 24


async def test_late_calls_of_interactive_requests(kafka: EmbeddedKafka, prefix: str) -> None:
    async with await start_simulators({"a": SCRIPT, "b": SCRIPT}) as simulators:
        base = simulators.base_url("a").replace("/a/", "/{name}/")
        document = catalog(base, {"a": "primary", "b": "secondary"})
        settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, document, routing={"hedge": True}))
        async with Bench(settings) as bench, running(settings) as worker:
            # Nothing is known yet, so nothing is late: one call each, whatever it takes.
            known = [f"known-{number}" for number in range(BEFORE)]
            streams = [f"known-stream-{number}" for number in range(BEFORE)]
            await asyncio.gather(*(bench.publish(chat(priority="interactive"), request_id=name) for name in known))
            await bench.answers_of(known)
            await asyncio.gather(*(bench.publish(chat() | {"stream": True}, request_id=name) for name in streams))
            await bench.answers_of(streams)
            beside = simulators.bill()["providers"]["b"]["requests"]
            await bench.until(
                lambda: late_after_ms(worker.view.health.get("a"), worker.clock.now(), streaming=True) is not None
            )
            # The loser would have answered in the end, so that only the hedge explains who did.
            simulators.control("a", "slow_first_byte", seconds=4.0)
            await bench.publish(chat(priority="interactive"), request_id="whole")
            await bench.publish(chat(priority="interactive") | {"stream": True}, request_id="stream")
            await bench.publish(chat(priority="standard"), request_id="patient")
            answers = await bench.answers_of({"whole", "stream", "patient"})
            # A stream that began is never hedged, however long it is silent.
            simulators.control("a", "stream_stall", seconds=1.0, stall_after=3)
            await bench.publish(chat(priority="interactive") | {"stream": True}, request_id="began")
            await bench.until(lambda: simulators.bill()["providers"]["a"]["outcomes"].get("stream_stall"), 30)
            attempts, costs = await bench.events("attempts"), await bench.events("costs")
            chunks = [orjson.loads(record.value) for record in await bench.records(bench.topics.requests[0].chunks)]
    assert beside == 0
    lost = {event.request_id: event for event in attempts if isinstance(event, AttemptAbandoned)}
    assert lost.keys() == {"whole", "stream"}
    for name in lost:
        routing = answers[name]["routing"]
        assert (routing["status"], routing["deployment"]) == ("ok", "b"), routing
        assert [a["outcome"] for a in routing["attempts"]] == ["abandoned", "succeeded"]
        event = lost[name]
        assert (event.deployment, event.number, event.reason) == ("a", 1, "hedge_lost")
        settled = [c for c in costs if isinstance(c, CostIncurred) and (c.request_id, c.number) == (name, 1)]
        reserved = [c for c in costs if isinstance(c, CostReserved) and (c.request_id, c.number) == (name, 1)]
        assert [(c.certainty, c.nano_usd) for c in settled] == [("estimated", reserved[0].nano_usd)]
    patient = answers["patient"]["routing"]
    assert (patient["deployment"], len(patient["attempts"])) == ("a", 1)
    # Readers of the hedged stream saw one attempt alone.
    seen = {chunk["routing"]["attempt"] for chunk in chunks if chunk["routing"]["request_id"] == "stream"}
    assert seen == {2}
