"""Streams cut at any byte, with seeds: what a reader keeps by the rule is the final answer's text, every time.

`--stream-cuts 1000` runs a thousand of them.
"""

import asyncio
import contextlib
import socket
import struct
from collections import defaultdict
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import orjson
import pytest
from loop import Bench, catalog, chat, prepared, running, settings_for

from infra.kafka import EmbeddedKafka

HEAD = b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
# Circuits would keep traffic off what is cut: they are held closed.
CLOSED = {"failure_threshold": 1_000_000, "minimum_calls": 1_000_000}
# The share of calls that are cut; the last deployment never is.
CUT = {"a": 0.8, "b": 0.5, "c": 0.0}


def events_of(name: str, seed: int) -> list[bytes]:
    """A stream whose words say who wrote them, in pieces of one to four words."""
    rng = Random(f"{name}/{seed}")
    words = [f"{name}{number} " for number in range(rng.randrange(4, 30))]
    chunks: list[dict[str, Any]] = [{"delta": {"role": "assistant", "content": ""}}]
    while words:
        size = rng.randrange(1, 5)
        chunks.append({"delta": {"content": "".join(words[:size])}})
        del words[:size]
    chunks.append({"delta": {}, "finish_reason": "stop"})
    bodies = [{"id": "c", "model": "m", "choices": [{"index": 0, **chunk}]} for chunk in chunks]
    usage = {"id": "c", "model": "m", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6}}
    return [b"data: " + orjson.dumps(body) + b"\n\n" for body in (*bodies, usage)] + [b"data: [DONE]\n\n"]


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        body = orjson.loads(await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])))
        name, seed = head.split(b"/")[1].decode(), int(body["messages"][0]["content"])
        pieces = [b"%x\r\n%b\r\n" % (len(event), event) for event in events_of(name, seed)]
        raw = HEAD + b"".join(pieces) + b"0\r\n\r\n"
        rng = Random(f"cut/{name}/{seed}")
        at = rng.randrange(len(raw)) if rng.random() < CUT[name] else len(raw)
        # A pause in the middle, so that a part is out before the cut.
        pause = rng.randrange(at + 1)
        writer.write(raw[:pause])
        await writer.drain()
        await asyncio.sleep(rng.choice((0.0, 0.0, 0.06)))
        writer.write(raw[pause:at])
        await writer.drain()
        # A reset takes what the reader has not read yet with it: only what is cut may end so.
        if at < len(raw) and rng.random() < 0.5:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
    writer.close()


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[str]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=2_048)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{{name}}/v1"
    finally:
        server.close()


async def test_a_reader_has_the_final_text(kafka: EmbeddedKafka, prefix: str, request: pytest.FixtureRequest) -> None:
    count = request.config.getoption("--stream-cuts")
    async with provider() as base_url:
        document = catalog(base_url, {"a": "primary", "b": "secondary", "c": "emergency"})
        settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, document, circuit=CLOSED))
        async with Bench(settings) as bench, running(settings):
            ids = [f"r-{seed}" for seed in range(count)]
            for start in range(0, count, 50):
                batch = range(start, min(start + 50, count))
                await asyncio.gather(
                    *(bench.publish(chat(str(seed)) | {"stream": True}, request_id=f"r-{seed}") for seed in batch)
                )
                await bench.answers_of([f"r-{seed}" for seed in batch], 60)
            answers = await bench.answers_of(ids)
            chunks = [orjson.loads(record.value) for record in await bench.records(bench.topics.requests[0].chunks)]
    kept: dict[str, dict[tuple[int, int], list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for chunk in chunks:
        routing = chunk["routing"]
        kept[routing["request_id"]][routing["run"], routing["attempt"]].append(chunk)
    restarted = 0
    for name in ids:
        assert answers[name]["routing"]["status"] == "ok", answers[name]
        newest = kept[name][max(kept[name])]
        assert [chunk["routing"]["sequence"] for chunk in newest] == list(range(len(newest))), name
        assert [chunk["routing"]["last"] for chunk in newest] == [False] * (len(newest) - 1) + [True], name
        text = "".join(choice["delta"].get("content") or "" for chunk in newest for choice in chunk["choices"])
        assert text == answers[name]["choices"][0]["message"]["content"], name
        restarted += len(kept[name]) > 1
    # Many began, broke and began again: the rule was needed.
    assert restarted >= count // 5, restarted
