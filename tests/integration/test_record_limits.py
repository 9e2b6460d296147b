"""What a topic does not take: answers and chunks larger than its records may be, and settings under which the log would lie."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiokafka.admin import NewTopic
from loop import Bench, catalog, chat, prepared, running, settings_for

from infra.kafka import EmbeddedKafka
from schemas.errors import ConfigurationError
from schemas.events import CostIncurred, RequestCompleted
from streams.topics import LEAST_RECORD_BYTES, admin_client, topics_of, verify_topics

CALLS: Counter[int] = Counter()


async def answered(request: web.Request) -> web.StreamResponse:
    """As many letters as the prompt says, whole or as one piece of a stream."""
    body = await request.json()
    size = int(body["messages"][-1]["content"])
    CALLS[size] += 1
    usage = {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}
    head = {"id": "c", "created": 1, "model": body["model"]}
    if not body.get("stream"):
        message = {"role": "assistant", "content": "x" * size}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return web.json_response({**head, "object": "chat.completion", "choices": choices, "usage": usage})
    stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await stream.prepare(request)
    for delta, end in (({"role": "assistant", "content": "x" * size}, None), ({}, "stop")):
        choices = [{"index": 0, "delta": delta, "finish_reason": end}]
        chunk = {**head, "object": "chat.completion.chunk", "choices": choices, "usage": usage if end else None}
        await stream.write(b"data: " + orjson.dumps(chunk) + b"\n\n")
    await stream.write(b"data: [DONE]\n\n")
    return stream


@asynccontextmanager
async def provider() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", answered)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def test_an_answer_that_no_record_holds_is_a_final_error(kafka: EmbeddedKafka, prefix: str) -> None:
    """Written, it would be refused by the broker and asked for again and again, and its provider paid each time."""
    CALLS.clear()
    large = 2 * LEAST_RECORD_BYTES
    async with provider() as base:
        settings = await prepared(settings_for(
            kafka.bootstrap_servers, prefix, catalog(base, {"a": "primary"}), worker={"max_request_bytes": 65_536},
        ))  # fmt: skip
        async with Bench(settings) as bench, running(settings):
            await bench.publish(chat(str(large)), request_id="large", partition=0)
            await bench.publish(chat(str(large + 1)) | {"stream": True}, request_id="streamed", partition=0)
            # Its own headers fill the record that the request stands in.
            filled = (("x-note", b"n" * (LEAST_RECORD_BYTES - 1_000)),)
            await bench.publish(chat("5"), request_id="headers", partition=0, headers=filled)
            filled = (("ü" * (LEAST_RECORD_BYTES // 2 - 600), b""),)
            await bench.publish(chat("6"), request_id="names", partition=0, headers=filled)
            # Its key fills the record; the dead letter that says so leaves it there.
            await bench.publish(b"no JSON", request_id="key", partition=0, key="k" * (LEAST_RECORD_BYTES - 300))
            await bench.publish(chat("500000"), request_id="small", partition=0)
            answers = {headers["request-id"]: (body, headers) for body, headers in await bench.answers(6)}
            (letter,) = await bench.records(f"{prefix}dead-letters")
            decisions, costs = await bench.events("decisions"), await bench.events("costs")
            chunks = [orjson.loads(record.value) for record in await bench.records(f"{prefix}chunks")]
    assert (letter.key, orjson.loads(letter.value)["request_id"]) == (None, "key")
    assert answers.pop("key")[0]["error"]["code"] == "invalid_request"
    for name in ("large", "streamed", "headers", "names"):
        body, headers = answers[name]
        assert (headers["turnout-status"], body["error"]["code"]) == ("error", "request_too_large"), name
        assert (body["routing"]["retryable"], headers["turnout-retryable"]) == (False, "false")
        assert "max.message.bytes" in body["error"]["message"]
        assert "x-note" not in headers
    body, headers = answers["small"]
    assert (headers["turnout-status"], len(body["choices"][0]["message"]["content"])) == ("ok", 500_000)
    assert {large: 1, large + 1: 1, 5: 1, 6: 1, 500_000: 1} == CALLS
    ends = {event.request_id: event for event in decisions if isinstance(event, RequestCompleted)}
    assert {name: event.status for name, event in ends.items()} == {
        "large": "error", "streamed": "error", "headers": "error", "names": "error", "key": "error", "small": "ok",
    }  # fmt: skip
    # Bought all the same.
    charged = {event.request_id for event in costs if isinstance(event, CostIncurred) and event.nano_usd}
    assert charged == set(answers)
    (last,) = chunks
    assert (last["routing"]["last"], last["error"]["code"]) == (True, "request_too_large")


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("costs", {"message.timestamp.type": "CreateTime"}, "set it to LogAppendTime"),
        ("state", {"message.timestamp.type": "LogAppendTime"}, "set it to compact"),
        ("control", {"message.timestamp.type": "LogAppendTime", "retention.ms": "1000"}, "set it to -1"),
        ("responses", {"message.timestamp.type": "LogAppendTime", "max.message.bytes": "1000"}, "1048576 or more"),
    ],
)
async def test_a_topic_with_settings_that_no_log_can_have_is_refused(
    kafka: EmbeddedKafka, prefix: str, kind: str, given: dict[str, str], said: str
) -> None:
    settings: Any = settings_for(kafka.bootstrap_servers, prefix, catalog("http://127.0.0.1:1/{name}", {}))
    admin = await admin_client(settings.kafka.access)
    try:
        partitions = 1 if kind == "control" else 2
        await admin.create_topics([NewTopic(f"{prefix}{kind}", partitions, 1, topic_configs=given)])
        async with asyncio.timeout(30):
            while f"{prefix}{kind}" not in await admin.list_topics():
                await asyncio.sleep(0.05)
    finally:
        await admin.close()
    with pytest.raises(ConfigurationError, match=said) as caught:
        await prepared(settings)
    assert len(caught.value.problems) == 1
    with pytest.raises(ConfigurationError, match=f"{prefix}{kind} has"):
        await verify_topics(topics_of(settings), settings)
