"""Whatever stands on the request topic: one final error that says what to do, and the worker goes on."""

import hashlib
from collections import Counter
from typing import Any

import orjson
from loop import Bench, catalog, chat, prepared, running, settings_for

from infra.kafka import EmbeddedKafka
from infra.simulators.script import ProviderScript
from infra.simulators.server import start_simulators
from schemas.chat_avro import encode_request

SECRET = "swordfish"
MESSAGES = [{"role": "user", "content": SECRET}]
AVRO = ("content-type", b"avro/binary")
Case = tuple[bytes | None, tuple[tuple[str, bytes], ...], str, str]


def case(value: Any, code: str, says: str, *headers: tuple[str, bytes]) -> Case:
    """A record, the code it must get and a piece of what its message must say."""
    return (value if value is None or isinstance(value, bytes) else orjson.dumps(value)), headers, code, says


def nested(depth: int) -> bytes:
    return b'{"messages":[{"role":"user","content":"x"}],"metadata":' + b'{"a":' * depth + b"1" + b"}" * (depth + 1)


UNREADABLE: dict[str, Case] = {
    "bytes": case(b"\xff\xfe\x00 " + SECRET.encode(), "invalid_request", "publish UTF-8 JSON"),
    "cut": case(b'{"messages": [{"role": "user", "content": "swordfish', "invalid_request", "publish UTF-8 JSON"),
    "empty-value": case(b"", "invalid_request", "publish a chat-completions body"),
    "tombstone": case(None, "invalid_request", "publish a chat-completions body"),
    "array": case([SECRET], "invalid_request", "must be a JSON object"),
    "text": case(SECRET, "invalid_request", "must be a JSON object"),
    "huge": case(chat(SECRET * 1_200_000), "request_too_large", "send a smaller one"),
    "no-messages": case({"messages": []}, "invalid_request", "`messages`"),
    "missing-messages": case({"prompt": SECRET}, "invalid_request", "`messages`"),
    "wrong-type": case({"messages": SECRET}, "invalid_request", "`messages`"),
    "wrong-role": case({"messages": [{"role": SECRET, "content": "x"}]}, "invalid_request", "`messages.0.role`"),
    "wrong-stream": case({"messages": MESSAGES, "stream": SECRET}, "invalid_request", "`stream`"),
    "wrong-deadline": case(
        {"messages": MESSAGES, "routing": {"deadline_ms": SECRET}}, "invalid_request", "deadline_ms"
    ),
    "unknown-routing": case(
        {"messages": MESSAGES, "routing": {"strategie": SECRET}}, "invalid_request", "`routing.strategie`"
    ),
    "routing-id-too-long": case(
        {"messages": MESSAGES, "routing": {"request_id": SECRET * 100}}, "invalid_request", "`routing.request_id`"
    ),
    "content-type": case(chat(SECRET), "invalid_request", "content-type header", ("content-type", b"text/plain")),
    "content-type-bytes": case(chat(SECRET), "invalid_request", "content-type header", ("content-type", b"\xff")),
    "avro-foreign": case(b"\x01\x02" + SECRET.encode(), "invalid_request", "", AVRO),
    "avro-cut": case(encode_request(chat(SECRET))[:-9], "invalid_request", "", AVRO),
    "avro-that-is-json": case(chat(SECRET), "invalid_request", "", AVRO),
    "avro-empty": case(b"", "invalid_request", "publish a ChatRequest in Avro", AVRO),
    "nested-past-reading": case(nested(5_000), "invalid_request", "publish UTF-8 JSON"),
    "nested-past-writing": case(nested(500), "invalid_request", "publish a flatter one"),
}


async def test_every_bad_record_gets_one_error_and_the_worker_goes_on(kafka: EmbeddedKafka, prefix: str) -> None:
    async with await start_simulators({"a": ProviderScript(latency_ms=5)}) as simulators:
        settings = await prepared(
            settings_for(kafka.bootstrap_servers, prefix, catalog(simulators.base_url("a"), {"a": "primary"}))
        )
        cases = UNREADABLE
        async with Bench(settings) as bench, running(settings) as worker:
            placed = {
                name: await bench.publish(value, request_id=name, headers=headers)
                for name, (value, headers, _, _) in cases.items()
            }
            await bench.publish(chat("good"), request_id="good")
            bad_ids = [(("request-id", item),) for item in (b"\xff\xfe", b"\xff\xff", b"r" * 100_000, b"r" * 100_001)]
            sources = [await bench.publish(chat(SECRET), key="k", headers=headers) for headers in bad_ids]
            await bench.publish(chat("good again"), request_id="good-again")
            topic = bench.topics.requests[0].name
            unnamed = [f"{topic}-{partition}-{offset}" for partition, offset in sources]
            expected = [*cases, *unnamed, "good", "good-again"]
            await bench.until(lambda: worker.tasks.completed == len(expected))
            records = await bench.records(bench.topics.requests[0].responses)
            answers = {dict(record.headers)["request-id"].decode(): record for record in records}
            assert Counter(dict(record.headers)["request-id"].decode() for record in records) == Counter(expected)
            letters = {letter["request_id"]: letter for letter in await _letters(bench)}
            rejected = Counter(
                e.request_id for e in await bench.events("decisions") if type(e).__name__ == "RequestRejected"
            )
            completed = Counter(
                e.request_id for e in await bench.events("decisions") if type(e).__name__ == "RequestCompleted"
            )
            assert not worker.failed.done()
    assert {dict(answers[name].headers)["turnout-status"] for name in ("good", "good-again")} == {b"ok"}
    for name, (_, headers, code, says) in cases.items():
        assert SECRET.encode() not in answers[name].value, name
        if AVRO in headers:
            continue
        error = orjson.loads(answers[name].value)["error"]
        assert (error["code"], dict(answers[name].headers)["turnout-status"]) == (code, b"error"), name
        assert says in error["message"], (name, error["message"])
        assert len(error["message"]) < 400, name
    for name in unnamed:
        error = orjson.loads(answers[name].value)["error"]
        assert (error["code"], error["param"]) == ("invalid_request", "request-id")
    refused = {*cases, *unnamed}
    assert completed == Counter(expected)
    assert rejected == Counter(refused)
    assert letters.keys() == UNREADABLE.keys()
    for name, letter in letters.items():
        value, _, code, _ = UNREADABLE[name]
        partition, offset = placed[name]
        assert letter["source"] == {"topic": topic, "partition": partition, "offset": offset}
        assert (letter["reason"], letter["length"]) == (code, len(value or b""))
        assert letter["hash"] == hashlib.sha256(value or b"").hexdigest()


async def _letters(bench: Bench) -> list[dict[str, Any]]:
    records = await bench.records(bench.topics.name("dead-letters"))
    assert all(SECRET.encode() not in record.value for record in records)
    assert len(records) == len(UNREADABLE)
    return [orjson.loads(record.value) for record in records]
