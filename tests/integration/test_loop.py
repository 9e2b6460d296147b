"""The whole loop on real parts: a request from Kafka, a call over HTTP, the answer and the events."""

from collections import Counter

from loop import Bench, catalog, chat, prepared, running, settings_for

from infra.kafka import EmbeddedKafka
from infra.simulators.script import ProviderScript
from infra.simulators.server import start_simulators

FAST = ProviderScript(latency_ms=5, latency_sigma=0.1)


async def test_a_request_is_answered_and_every_step_is_an_event(kafka: EmbeddedKafka, prefix: str) -> None:
    async with await start_simulators({"a": FAST, "b": FAST}) as simulators:
        base = simulators.base_url("a").replace("/a/", "/{name}/")
        settings = await prepared(
            settings_for(kafka.bootstrap_servers, prefix, catalog(base, {"a": "primary", "b": "primary"}))
        )
        async with Bench(settings) as bench, running(settings):
            for number in range(20):
                await bench.publish(chat(), request_id=f"r-{number}", headers=(("correlation", b"c"),))
            answers = await bench.answers(20)
            assert {headers["request-id"] for _, headers in answers} == {f"r-{number}" for number in range(20)}
            for body, headers in answers:
                assert headers["turnout-status"] == "ok"
                assert headers["correlation"] == "c"
                assert body["object"] == "chat.completion"
                assert body["routing"]["attempts"][0]["outcome"] == "succeeded"
            decisions = Counter(type(event).__name__ for event in await bench.events("decisions"))
            attempts = Counter(type(event).__name__ for event in await bench.events("attempts"))
            costs = Counter(type(event).__name__ for event in await bench.events("costs"))
            assert decisions["RequestAccepted"] == decisions["RouteDecided"] == decisions["RequestCompleted"] == 20
            assert attempts["AttemptStarted"] == attempts["AttemptSucceeded"] == 20
            assert costs["CostReserved"] == costs["CostIncurred"] == 20
            served = Counter(body["routing"]["deployment"] for body, _ in answers)
            assert served == {"a": 10, "b": 10}
