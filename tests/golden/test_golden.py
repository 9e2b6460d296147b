"""Bytes that were once written stay readable, and change only with a new version.

`golden.json` holds every event in fixed values as `NAME.vN`, `chat.json` a request, an answer and a chunk.
`python tests/golden/test_golden.py` adds what is missing; it never changes a line that is there.
"""

import base64
import dataclasses
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from schemas.avro_files import FOLDER, newest_schemas  # noqa: E402
from schemas.chat_avro import (  # noqa: E402
    CHAT_RECORDS,
    chat_schemas,
    decode_chunk,
    decode_request,
    decode_response,
    encode_chunk,
    encode_request,
    encode_response,
)
from schemas.codec import NEWEST, TAGGED, Codec, encode_json, wire_schemas  # noqa: E402
from schemas.shapes import to_record  # noqa: E402
from schemas.snapshots import Snapshot  # noqa: E402

FILE = Path(__file__).with_name("golden.json")
ADD = "python tests/golden/test_golden.py"
NAMES = [f"{name}.v{version}" for name, version in NEWEST.items()]
CHAT_FILE = Path(__file__).with_name("chat.json")
AVRO = Codec()

CHAT_BODIES: dict[str, dict[str, Any]] = {
    "ChatRequest": {
        "model": "auto",
        "messages": [
            {"role": "user", "content": "héllo"},
            {"role": "user", "content": [{"type": "text", "text": "x"}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}], "name": "n"},
        ],
        "stream": True, "temperature": 0.5, "max_tokens": 100, "stop": ["a", "b"], "seed": -7, "top_k": 40,
        "tools": [{"type": "function"}],
        "routing": {
            "request_id": "r-1", "tenant": "acme", "weights": {"cost": 0.5}, "fallback": False, "allow": ["a/*"],
        },
    },
    "ChatResponse": {
        "id": "chatcmpl-r-1", "object": "chat.completion", "created": 1790000000, "model": "gpt-5-mini",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
        "error": {"message": "m", "type": "t", "code": "c", "param": None},
        "routing": {
            "request_id": "r-1", "status": "ok", "confidence": 0.75, "reasons": ["why"],
            "attempts": [{"number": 1, "outcome": "failed", "http_status": 500, "latency_ms": 1.5, "cost_usd": 0.25}],
            "latency_ms": {"queue": 0.5, "total": 2.5}, "retryable": False, "retry_after_ms": 5,
        },
    },
    "ResponseChunk": {
        "id": "chatcmpl-r-1", "object": "chat.completion.chunk", "created": 1790000000, "model": "gpt-5-mini",
        "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}],
        "routing": {"request_id": "r-1", "run": 44, "attempt": 1, "sequence": 2, "last": True},
    },
}  # fmt: skip


def _request_body(value: bytes) -> dict[str, Any]:
    request = decode_request(value, 10_000)
    return request.body | {"routing": request.routing.model_dump(exclude_unset=True)}


CHAT: dict[str, tuple[Callable[[dict[str, Any]], bytes], Callable[[bytes], dict[str, Any]]]] = {
    "ChatRequest": (encode_request, _request_body),
    "ChatResponse": (encode_response, decode_response),
    "ResponseChunk": (encode_chunk, decode_chunk),
}


def example(shape: type, depth: int = 0) -> Any:
    """An instance with fixed values that differ from field to field, from the annotations alone."""
    hints = typing.get_type_hints(shape)
    values = {
        field.name: _value(field.name, hints[field.name], index, depth)
        for index, field in enumerate(dataclasses.fields(shape), start=1)
    }
    if shape is Snapshot:
        values["value"] = b'{"epoch":3,"status":"closed"}'
    return shape(**values)


def _value(name: str, hint: Any, index: int, depth: int) -> Any:
    if hint is int:
        return 1_790_000_000_000_000 + index if name.endswith("_at") else 100 * depth + index
    if hint is bool:
        return index % 2 == 0
    if hint is float:
        return index + 0.125
    if hint is str:
        return f"{name}-é-{index}"
    if hint is bytes:
        return bytes([0, 127, 128, 255, index])
    if dataclasses.is_dataclass(hint):
        return example(typing.cast(type, hint), depth + 1)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return (_value(name, inner[0], index, depth + 1), _value(name, inner[0], index + 1, depth + 2))
    if origin is dict:
        return {"a": _value(name, inner[1], index, depth + 1)}
    return _value(name, next(option for option in inner if option is not type(None)), index, depth)


def golden() -> dict[str, Any]:
    """NAME.vN -> avro (hex with its single-object header), json (the document), record (what both decode to)."""
    kept: dict[str, Any] = orjson.loads(FILE.read_bytes()) if FILE.exists() else {}
    return kept


def plain(value: Any) -> Any:
    """An event's record with bytes in base64, as the file keeps it."""
    return orjson.loads(orjson.dumps(to_record(value), default=lambda item: base64.b64encode(item).decode()))


def written(name: str) -> dict[str, Any]:
    event = example(TAGGED[name])
    return {"avro": AVRO.encode(event).hex(), "json": orjson.loads(encode_json(event)), "record": plain(event)}


GOLDEN = golden()
CHAT_GOLDEN: dict[str, str] = orjson.loads(CHAT_FILE.read_bytes()) if CHAT_FILE.exists() else {}


@pytest.mark.parametrize("name", NAMES)
def test_every_event_has_golden_bytes(name: str) -> None:
    assert name in GOLDEN, f"{name} has no golden bytes; run `{ADD}` and keep the change to golden.json"


@pytest.mark.parametrize("name", GOLDEN)
def test_old_bytes_are_read_as_the_same_values(name: str) -> None:
    kept = GOLDEN[name]
    event, _, version = name.partition(".v")
    assert event in TAGGED, f"{event} is gone, but its bytes stand in logs; keep the event and an upcaster"
    for value in (bytes.fromhex(kept["avro"]), orjson.dumps(kept["json"])):
        decoded = AVRO.decode(value)
        assert type(decoded) is TAGGED[event]
        record = plain(decoded)
        if int(version) == NEWEST[event]:
            assert record == kept["record"]
        else:
            # An upcaster adds and renames; what both versions have keeps its value.
            shared = record.keys() & kept["record"].keys()
            assert {field: record[field] for field in shared} == {field: kept["record"][field] for field in shared}


@pytest.mark.parametrize("name", [name for name in NAMES if name in GOLDEN])
def test_encoding_changes_only_with_a_new_version(name: str) -> None:
    event = name.partition(".v")[0]
    said = f"{name} is written differently than before; raise {event}.VERSION, add an upcaster, then run `{ADD}`"
    fresh = written(event)
    assert fresh["avro"] == GOLDEN[name]["avro"], said
    assert fresh["json"] == GOLDEN[name]["json"], said


def test_schema_files_equal_the_classes() -> None:
    command = "run `python -m schemas.avro_files` and keep the change"
    wanted = newest_schemas()
    for name, schema in wanted.items():
        file = FOLDER / name
        assert file.exists(), f"schemas/avro/{name} is missing; {command}"
        assert orjson.loads(file.read_bytes()) == schema, f"schemas/avro/{name} differs from its class; {command}"


def test_every_schema_file_is_read_by_someone() -> None:
    known = {f"{schema.event}.v{schema.version}.avsc" for schema in (*wire_schemas(), *chat_schemas())}
    found = {file.name for file in FOLDER.glob("*.avsc")}
    assert found == known, f"no code reads {sorted(found - known)}; remove the file or the event's name is wrong"


@pytest.mark.parametrize("name", CHAT_BODIES)
def test_chat_bytes_stay_the_same_and_readable(name: str) -> None:
    """Callers carry the fingerprint and the field order in their own code: another schema is another version."""
    encode, decode = CHAT[name]
    kept = bytes.fromhex(CHAT_GOLDEN[name])
    assert decode(kept) == CHAT_BODIES[name]
    assert encode(CHAT_BODIES[name]) == kept, f"{name} is written differently than before; give it a new version"


def test_every_chat_record_has_golden_bytes() -> None:
    assert set(CHAT_BODIES) == set(CHAT_RECORDS) == set(CHAT_GOLDEN), f"run `{ADD}` and keep the change to chat.json"


if __name__ == "__main__":
    for missing in (name for name in NAMES if name not in GOLDEN):
        GOLDEN[missing] = written(missing.partition(".v")[0])
        print(f"added {missing}")
    FILE.write_bytes(orjson.dumps(GOLDEN, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    for missing in CHAT_BODIES.keys() - CHAT_GOLDEN.keys():
        CHAT_GOLDEN[missing] = CHAT[missing][0](CHAT_BODIES[missing]).hex()
        print(f"added {missing}")
    CHAT_FILE.write_bytes(orjson.dumps(CHAT_GOLDEN, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
