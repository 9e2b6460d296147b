"""The failure table on the loop, row by row at the wire: its name, what was tried next, whether it counted, what was billed."""

import asyncio
import contextlib
import gzip
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from loop import Bench, catalog, chat, prepared, running, settings_for
from peer import GOOD, Reply, hangs, message, resets, says

from infra.kafka import EmbeddedKafka
from schemas.events import AttemptFailed, AttemptStarted, CostIncurred, CostReserved

STREAM_HEAD = b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
BEGUN = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"}}]}\n\n'
PART = STREAM_HEAD + b"%x\r\n%b\r\n" % (len(BEGUN), BEGUN)
# Valid JSON all the same: a delta that is no object, a number that is none, and one that nobody could write again.
LIST, NUMBER, DEEP = (
    STREAM_HEAD + b"%x\r\n%b\r\n0\r\n\r\n" % (len(event), event)
    for event in (
        b'data: {"choices":[{"index":0,"delta":["Hi"],"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[{"index":"a","delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"Hi","x":%b},"finish_reason":"stop"}]}\n\n'
        % (b"[" * 300 + b"]" * 300),
    )
)


@dataclass(frozen=True)
class Row:
    """`alone`: what follows where the deployment is the only one allowed. `code`: of the final error where no other
    deployment may take it. `at`: another base URL: refused | tls | wrong."""

    reply: Reply
    failure: str
    counts: bool
    billed: str
    alone: str = "none"
    other: bool = True
    code: str = ""
    stream: bool = False
    at: str = ""
    timeouts: dict[str, float] = field(default_factory=dict)


def error(status: int, code: str | None = None, headers: str = "") -> Reply:
    body = {"error": {"message": "m", "type": None, "code": code}}
    return says(message(status, orjson.dumps(body), headers))


def completion(**message_: Any) -> bytes:
    body = orjson.loads(GOOD)
    body["choices"][0]["message"] |= message_
    return orjson.dumps(body)


SHORT = {"connect_s": 0.2, "first_byte_s": 0.2}
LIMITED = "retry-after: 1\r\n"
ROWS: dict[str, Row] = {
    "400": Row(error(400, "invalid_value"), "invalid_request", False, "no", other=False, code="provider_rejected"),
    "422": Row(error(422), "invalid_request", False, "no", other=False, code="provider_rejected"),
    "400-context": Row(error(400, "context_length_exceeded"), "context_length", False, "no"),
    "400-window": Row(error(400, "model_context_window_exceeded"), "context_length", False, "no"),
    "400-spend": Row(error(400, "project_spend_limit_reached"), "quota_exhausted", False, "no"),
    "429-quota": Row(error(429, "insufficient_quota", LIMITED), "quota_exhausted", False, "no"),
    "429-credit": Row(error(429, "credit_balance_exhausted", LIMITED), "quota_exhausted", False, "no"),
    "401": Row(error(401, "invalid_api_key"), "authentication", False, "no"),
    "402": Row(error(402), "authentication", False, "no"),
    "403": Row(error(403), "authentication", False, "no"),
    "404": Row(error(404, "model_not_found"), "model_not_found", False, "no"),
    "408": Row(error(408), "timeout", True, "unknown", alone="same"),
    "504": Row(error(504), "timeout", True, "unknown", alone="same"),
    "409": Row(error(409), "server_error", False, "no", alone="same"),
    "413": Row(error(413), "too_large", False, "no"),
    "429": Row(error(429, "rate_limit_exceeded", LIMITED), "rate_limited", False, "no", alone="wait"),
    "429-long": Row(error(429, "rate_limit_exceeded", "retry-after: 90\r\n"), "rate_limited", False, "no"),
    "500": Row(error(500), "server_error", True, "no", alone="same"),
    "502": Row(error(502), "server_error", True, "no", alone="same"),
    "503": Row(error(503), "overloaded", True, "no"),
    "529": Row(error(529), "overloaded", True, "no"),
    "overloaded": Row(error(500, "server_is_overloaded"), "overloaded", True, "no"),
    "should-retry": Row(error(503, None, "x-should-retry: true\r\n"), "overloaded", True, "no", alone="same"),
    "should-not": Row(error(500, None, "x-should-retry: false\r\n"), "server_error", True, "no"),
    "refused": Row(hangs, "connect", True, "no", alone="same", at="refused"),
    "tls": Row(hangs, "connect", True, "no", at="tls"),
    "read-timeout": Row(hangs, "timeout", True, "unknown", timeouts=SHORT),
    "reset": Row(resets(b""), "bad_response", True, "unknown"),
    "reset-later": Row(resets(message(200, GOOD)[: -len(GOOD)]), "bad_response", True, "unknown"),
    "half-body": Row(says(message(200, GOOD)[:-40], close=True), "bad_response", True, "unknown"),
    "no-http": Row(says(b"SSH-2.0-X\r\n\r\n", close=True), "bad_response", True, "unknown"),
    "own-fault": Row(hangs, "invalid_request", False, "no", other=False, code="internal", at="wrong"),
    "bad-json": Row(says(message(200, b"{not json")), "bad_response", True, "unknown"),
    "page": Row(says(message(200, b"<html>", kind="text/html")), "bad_response", True, "unknown"),
    "utf8": Row(says(message(200, GOOD.replace(b"Hi.", b"\xff"))), "bad_response", True, "unknown"),
    "nan": Row(says(message(200, GOOD.replace(b'"index":0', b'"index":NaN'))), "bad_response", True, "unknown"),
    "gzip": Row(
        says(message(200, gzip.compress(GOOD), "content-encoding: gzip\r\n")), "bad_response", True, "unknown"
    ),
    "redirect": Row(says(message(307, b"", "location: http://h/\r\n")), "bad_response", True, "no"),
    "error-in-200": Row(error(200, "server_error"), "server_error", True, "no", alone="same"),
    "stream-cut": Row(says(PART, close=True), "stream_interrupted", True, "unknown", stream=True),
    "stream-end": Row(says(PART + b"0\r\n\r\n"), "stream_interrupted", True, "unknown", stream=True),
    "stream-stall": Row(
        says(PART), "stream_stalled", True, "unknown", stream=True, timeouts={"between_chunks_s": 0.2}
    ),
    "stream-list": Row(says(LIST), "bad_response", True, "unknown", stream=True),
    "stream-number": Row(says(NUMBER), "bad_response", True, "unknown", stream=True),
    "stream-deep": Row(says(DEEP), "bad_response", True, "unknown", stream=True),
    "empty": Row(says(message(200, completion(content=""))), "empty_completion", False, "yes", alone="same"),
    "filter": Row(
        error(400, "content_filter"), "content_filtered", False, "no", other=False, code="content_filtered"
    ),
}  # fmt: skip


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[int]:
    """Every row under its own path; `good` answers. Returns the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                name = head.split(b"/")[1].decode().removesuffix("-alone")
                await (ROWS[name].reply if name in ROWS else says(message(200, GOOD)))(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@contextlib.asynccontextmanager
async def without_tls() -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_every_row(kafka: EmbeddedKafka, prefix: str) -> None:
    async with provider() as port, without_tls() as plain:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            places = {
                "": f"http://127.0.0.1:{port}/{{name}}/v1", "tls": f"https://127.0.0.1:{plain}/v1",
                "refused": f"http://127.0.0.1:{taken.getsockname()[1]}/v1", "wrong": "http://256.1.1.1/",
            }  # fmt: skip
            document = catalog(places[""], {"good": "secondary"})
            # The good one has the larger window, so that it may take what was too long elsewhere.
            document["models"].append(document["models"][0] | {"id": "sim-large", "context_window": 256_000})
            good = document["deployments"][0]
            for name, row in ROWS.items():
                for own in (name, f"{name}-alone"):
                    base_url = places[row.at].format(name=own)
                    limits = {"connect_s": 5, "first_byte_s": 10, "total_s": 15, "between_chunks_s": 10, **row.timeouts}
                    document["deployments"].append(
                        good | {"id": own, "base_url": base_url, "timeouts": limits, "fallback_tier": "primary"}
                    )
            good["model"] = "sim-large"
            settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, document))
            async with Bench(settings) as bench, running(settings):
                for name, row in ROWS.items():
                    body = {"stream": True} if row.stream else {}
                    await bench.publish(chat(allow=[name, "good"]) | body, request_id=name)
                    await bench.publish(chat(allow=[f"{name}-alone"]) | body, request_id=f"{name}-alone")
                answers = await bench.answers_of([*ROWS, *(f"{name}-alone" for name in ROWS)], 60)
                attempts, costs = await bench.events("attempts"), await bench.events("costs")
    first = {e.request_id: e for e in attempts if isinstance(e, AttemptFailed) and e.number == 1}
    calls = [e.request_id for e in attempts if isinstance(e, AttemptStarted)]
    charged = {e.request_id: e for e in costs if isinstance(e, CostIncurred) and e.number == 1}
    reserved = {e.request_id: e.nano_usd for e in costs if isinstance(e, CostReserved) and e.number == 1}
    for name, row in ROWS.items():
        failed, alone = first[name], first[f"{name}-alone"]
        for event in (failed, alone):
            said = (event.failure, event.counts_toward_circuit, event.billed)
            assert said == (row.failure, row.counts, row.billed), (name, said)
        routing = answers[name]["routing"]
        if row.other:
            assert (failed.next_action, routing["status"], routing["deployment"]) == ("other", "ok", "good"), name
        else:
            assert (failed.next_action, routing["status"]) == ("none", "error"), name
            assert answers[name]["error"]["code"] == row.code, name
        assert alone.next_action == row.alone, name
        # The same once more; a wait as often as a request may be attempted.
        assert calls.count(f"{name}-alone") == {"none": 1, "same": 2, "wait": 4}[row.alone], name
        assert answers[f"{name}-alone"]["routing"]["status"] == "error", name
        bill = charged[name]
        match row.billed:
            case "no":
                assert (bill.certainty, bill.nano_usd) == ("certain", 0), name
            case "unknown":
                assert (bill.certainty, bill.nano_usd) == ("estimated", reserved[name]), name
            case _:
                assert (bill.certainty, bill.tokens_in, bill.tokens_out) == ("certain", 5, 2), name
