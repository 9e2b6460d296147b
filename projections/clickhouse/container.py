"""A batch as one Avro container file: pure.

What routers write for every request is passed on in the bytes it was written in, and ClickHouse decodes it: that takes a fifth of
what it takes here. Everything else is a row that was made here. Both are branches of one record, so a batch stays one insert.
"""

import io
from collections.abc import Iterable
from functools import cache, lru_cache
from struct import Struct
from typing import Any

import orjson
from fastavro import parse_schema, schemaless_writer

from projections.clickhouse.rows import COLUMNS, PLACED, Row
from schemas.codec import Codec, newest_wire_schemas

PASSED = (
    "RequestAccepted", "RouteDecided", "AttemptStarted", "AttemptSucceeded", "AttemptFailed", "CostReserved",
    "CostIncurred", "RequestCompleted",
)  # fmt: skip
"""Each costs every other record an empty branch, so only what is frequent is among them."""

Block = bytes
"""One record as a block of the file. In a block of its own a damaged record cannot reach into the next one."""

SCALARS: dict[type, str] = {str: "string", int: "long", float: "double", bool: "boolean"}
# Doubles hold offsets and microseconds exactly (to 2^53) and all have one width.
PLACE = {
    "topic": "string", "partition": "long", "topic_kind": "string", "offset": "double", "logged_at": "double",
    "branch": "int",
}  # fmt: skip
_ROW_NAMES = tuple(name for name in COLUMNS if name not in PLACED)
ROW = {
    "type": "record", "name": "Row", "namespace": "turnout",
    "fields": [{"name": name, "type": SCALARS[type(COLUMNS[name])]} for name in _ROW_NAMES],
}  # fmt: skip
_SPOT = Struct("<dd")
_SYNC = b"turnout's batch."
_ABSENT, _PRESENT = b"\x00", b"\x02"


def branches() -> dict[str, dict[str, Any]]:
    """Name of a branch -> its Avro record. The first is a row, and its number is 0."""
    return {"row": ROW} | {name: _owned(newest_wire_schemas()[name].plain, name) for name in PASSED}


def _owned(node: Any, event: str) -> Any:
    """With names of its own: no two branches may define the same one."""
    if isinstance(node, dict):
        return {key: f"{item}.{event}" if key == "namespace" else _owned(item, event) for key, item in node.items()}
    if isinstance(node, list):
        return [_owned(item, event) for item in node]
    return node.replace("turnout.", f"turnout.{event}.") if isinstance(node, str) else node


def container(blocks: Iterable[Block]) -> bytes:
    """The container file that holds these blocks."""
    return b"".join((_header(), *blocks))


def block_of(row: Row) -> Block:
    """A row as a block. Raises what fastavro raises for a value of another type than its column's."""
    topic, partition, offset, logged_at = row[: len(PLACED)]
    out = io.BytesIO()
    schemaless_writer(out, _row_schema(), dict(zip(_ROW_NAMES, row[len(PLACED) :], strict=True)))
    return _block(_place(topic, partition, ""), offset, logged_at, *_frame(0), out.getvalue())


class Passing:
    """Tells by its first bytes what ClickHouse can decode."""

    def __init__(self, codec: Codec) -> None:
        self._frames = {
            beginning: (len(beginning), *_frame(number))
            for number, name in enumerate(PASSED, start=1)
            for beginning in codec.beginnings(name)
        }

    def block(
        self, topic_kind: str, topic: str, partition: int, offset: int, logged_at_us: int, value: bytes
    ) -> Block | None:
        """A record of an event topic as a block; None where a row has to be made of it."""
        found = self._frames.get(value[:10]) or self._frames.get(value[:5])
        if found is None:
            return None
        start, before, after = found
        return _block(_place(topic, partition, topic_kind), offset, logged_at_us, before, after, value[start:])


def _block(place: bytes, offset: int, logged_at: int, before: bytes, after: bytes, datum: bytes) -> Block:
    body = b"".join((place, _SPOT.pack(offset, logged_at), before, datum, after))
    return b"".join((_long(1), _long(len(body)), body, _SYNC))


def _frame(branch: int) -> tuple[bytes, bytes]:
    """What stands before and after the datum of a branch: its number, and that the others are absent."""
    return _long(branch) + _ABSENT * branch + _PRESENT, _ABSENT * (len(PASSED) - branch)


@lru_cache(maxsize=4096)
def _place(topic: str, partition: int, topic_kind: str) -> bytes:
    return b"".join((_text(topic), _long(partition), _text(topic_kind)))


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _long(len(encoded)) + encoded


@lru_cache(maxsize=4096)
def _long(number: int) -> bytes:
    """Avro's long of a number that is not negative: seven bits a byte, the lowest first."""
    left, out = number << 1, bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


@cache
def _row_schema() -> Any:
    return parse_schema(ROW)


@cache
def _header() -> bytes:
    fields: list[dict[str, Any]] = [{"name": name, "type": kind} for name, kind in PLACE.items()]
    fields += [{"name": name, "type": ["null", branch]} for name, branch in branches().items()]
    document = {"type": "record", "name": "Arrival", "namespace": "turnout", "fields": fields}
    entries = (("avro.schema", orjson.dumps(document).decode()), ("avro.codec", "null"))
    metadata = b"".join(_text(key) + _text(value) for key, value in entries)
    return b"".join((b"Obj\x01", _long(len(entries)), metadata, _long(0), _SYNC))
