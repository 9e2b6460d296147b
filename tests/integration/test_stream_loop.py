"""Streaming on the whole loop: chunks out at once, and a broken stream that starts again."""

from loop import Bench, catalog, prepared, running, settings_for

from infra.kafka import EmbeddedKafka
from infra.simulators.script import ProviderScript
from infra.simulators.server import start_simulators
from streams.client import TurnoutClient

SLOW = ProviderScript(latency_ms=400, latency_sigma=0.1, output_tokens_mean=80)
BODY = {"messages": [{"role": "user", "content": "Tell me a story."}], "stream": True}


async def streamed(client: TurnoutClient, number: int) -> tuple[str, str, int, int]:
    """Text by the reader's rule, text of the final answer, chunks seen, restarts."""
    text, chunks, restarts = "", 0, 0
    request_id = f"s-{number}"
    async for chunk in client.stream(BODY | {"seed": number}, request_id=request_id, timeout_s=30):
        if chunk.restart:
            text, restarts = "", restarts + 1
        text += chunk.text
        chunks += 1
    answer = await client.answer(request_id, 30)
    return text, answer["choices"][0]["message"]["content"], chunks, restarts


async def test_a_stream_is_the_final_answers_text_whatever_broke(kafka: EmbeddedKafka, prefix: str) -> None:
    async with await start_simulators({"a": SLOW, "b": SLOW}) as simulators:
        base = simulators.base_url("a").replace("/a/", "/{name}/")
        settings = await prepared(
            settings_for(kafka.bootstrap_servers, prefix, catalog(base, {"a": "primary", "b": "primary"}))
        )
        async with (
            Bench(settings) as bench,
            running(settings),
            TurnoutClient(kafka.bootstrap_servers, prefix) as client,
        ):
            for number in range(4):
                text, final, chunks, restarts = await streamed(client, number)
                assert text == final
                # The first token and the end are never one record; how many lie between is the machine's speed.
                assert chunks >= 2
                assert restarts == 0
            simulators.control("a", "stream_cut", share=1.0)
            seen = [await streamed(client, number) for number in range(10, 14)]
            assert all(text == final for text, final, _, _ in seen)
            assert sum(restarts for *_, restarts in seen) > 0
            records = await bench.records(f"{prefix}chunks")
            assert {record.partition for record in records} <= {0, 1}
            assert all(dict(record.headers)["turnout-source"] for record in records)
