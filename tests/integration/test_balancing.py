"""Balancers by what this worker sees itself, long before health says it: how long calls took, what is under way."""

from collections import Counter

from loop import Bench, catalog, chat, prepared, running, settings_for

from infra.kafka import EmbeddedKafka
from infra.simulators.script import ProviderScript
from infra.simulators.server import start_simulators

REPLICAS = {"quick": ProviderScript(latency_ms=5), "slow": ProviderScript(latency_ms=250)}
ONE_BY_ONE, LONG = 12, 12


async def test_replicas_share_by_time_and_by_tokens(kafka: EmbeddedKafka, prefix: str) -> None:
    async with await start_simulators(REPLICAS) as simulators:
        document = catalog(
            simulators.base_url("quick").replace("/quick/", "/{name}/"), dict.fromkeys(REPLICAS, "primary")
        )
        document["models"][0]["context_window"] = 200_000
        for deployment in document["deployments"]:
            deployment["limits"] = {"tokens_per_minute": 10_000_000}
        settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, document))
        async with Bench(settings) as bench, running(settings) as worker:
            by_time = Counter[str]()
            for number in range(ONE_BY_ONE):
                await bench.publish(chat(balancer="least_response_time"), request_id=f"time-{number}")
                by_time[(await bench.answer_of(f"time-{number}"))["routing"]["deployment"]] += 1
            simulators.control("quick", "hang")
            simulators.control("slow", "hang")
            # The first is long, so the short ones find the other replica freer, and go there all.
            bodies = [chat("word " * 100_000, balancer="token_aware", deadline_ms=60_000)]
            bodies += [chat("word", balancer="token_aware", deadline_ms=60_000)] * LONG
            for number, body in enumerate(bodies):
                await bench.publish(body, request_id=f"tokens-{number}")
                await bench.until(lambda number=number: sum(worker.live.calls.total.values()) == number + 1)
            under_way = dict(worker.live.calls.total)
    assert by_time["quick"] >= ONE_BY_ONE - 1, by_time
    assert sorted(under_way.values()) == [1, LONG]
