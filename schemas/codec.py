"""Events and snapshots as bytes: Avro single-object encoding, Confluent framing with a registry, or JSON.

Reading needs no configuration: the first bytes tell the format (C3 01, 00, or an opening brace).
"""

import base64
import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache, cached_property
from importlib import resources
from typing import Any, Literal, cast

import orjson
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

from schemas.errors import UnknownEvent, UnreadableRecord
from schemas.events import EVENT_TYPES, Event
from schemas.shapes import from_record, to_record
from schemas.snapshots import Snapshot
from schemas.units import iso
from schemas.upcast import upcast

SINGLE_OBJECT = b"\xc3\x01"
CONFLUENT = 0
Format = Literal["avro", "json"]
# What fastavro, orjson and the constructors raise on bytes that begin like an event and are none.
DAMAGED = (EOFError, KeyError, ValueError, IndexError, TypeError, struct.error, OverflowError, MemoryError)
TAGGED: dict[str, type] = {**EVENT_TYPES, "Snapshot": Snapshot}
NEWEST: dict[str, int] = {name: getattr(shape, "VERSION", 1) for name, shape in TAGGED.items()}


@dataclass(frozen=True)
class WireSchema:
    """One `.avsc` file: an event in one version."""

    event: str
    version: int
    document: dict[str, Any]

    @cached_property
    def plain(self) -> dict[str, Any]:
        """Without logical types: instants stay integers here, while other readers of the file see timestamps."""
        return cast(dict[str, Any], _plain(self.document))

    @cached_property
    def parsed(self) -> Any:
        """`plain` as fastavro wants it."""
        return parse_schema(self.plain)

    @cached_property
    def header(self) -> bytes:
        """The ten bytes of Avro's single-object encoding."""
        print_of = fingerprint(to_parsing_canonical_form(self.document), "CRC-64-AVRO")
        return SINGLE_OBJECT + bytes.fromhex(print_of)


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        if node.get("logicalType") == "timestamp-micros":
            return "long"
        return {key: _plain(item) for key, item in node.items()}
    return [_plain(item) for item in node] if isinstance(node, list) else node


@cache
def wire_schemas() -> tuple[WireSchema, ...]:
    """Every version of every event that this distribution can read, from `schemas/avro/EVENT.vN.avsc`."""
    found = []
    for file in sorted(resources.files("schemas").joinpath("avro").iterdir(), key=lambda file: file.name):
        name, _, rest = file.name.partition(".v")
        if rest.endswith(".avsc") and name in TAGGED:
            found.append(WireSchema(name, int(rest.removesuffix(".avsc")), orjson.loads(file.read_bytes())))
    return tuple(found)


@cache
def newest_wire_schemas() -> dict[str, WireSchema]:
    """Event -> the schema that it is written with."""
    return {schema.event: schema for schema in wire_schemas() if schema.version == NEWEST[schema.event]}


@cache
def _reading() -> dict[bytes, WireSchema]:
    return {schema.header: schema for schema in wire_schemas()}


@dataclass(frozen=True)
class Codec:
    """`registry_ids`: (event, version) -> id at a schema registry; where it is given, Avro is framed the Confluent way."""

    format: Format = "avro"
    registry_ids: Mapping[tuple[str, int], int] | None = None

    def encode(self, event: Event | Snapshot) -> bytes:
        """An event or a snapshot as the value of a record."""
        if self.format == "json":
            return encode_json(event)
        name = type(event).__name__
        schema = newest_wire_schemas()[name]
        out = io.BytesIO()
        if self.registry_ids is None:
            out.write(schema.header)
        else:
            out.write(struct.pack(">bI", CONFLUENT, self.registry_ids[name, schema.version]))
        record = to_record(event)
        record["event"], record["version"] = name, schema.version
        schemaless_writer(out, schema.parsed, record)
        return out.getvalue()

    def decode(self, value: bytes) -> Event | Snapshot:
        """The newest version of what the bytes say. Raises UnknownEvent, which no fold skips, and UnreadableRecord."""
        record = self.newest(value)
        try:
            return cast("Event | Snapshot", from_record(TAGGED[record["event"]], record))
        except DAMAGED as error:
            raise _damaged(value, error) from None

    def newest(self, value: bytes) -> dict[str, Any]:
        """The tagged record in its newest version, for who needs no dataclass. Raises as `decode` does."""
        try:
            return upcast(self.record(value), NEWEST)
        except DAMAGED as error:
            raise _damaged(value, error) from None

    def beginnings(self, event: str) -> tuple[bytes, ...]:
        """What an event in its newest version may begin with; its datum follows."""
        schema = newest_wire_schemas()[event]
        number = (self.registry_ids or {}).get((event, schema.version))
        return (schema.header,) if number is None else (schema.header, struct.pack(">bI", CONFLUENT, number))

    def peek(self, value: bytes | None) -> type | None:
        """The class that the bytes name, without decoding them; None where their beginning does not tell."""
        schema = _reading().get((value or b"")[:10])
        return TAGGED[schema.event] if schema is not None else None

    def record(self, value: bytes) -> dict[str, Any]:
        """The tagged record as it was written, in its own version. Raises as `decode` does."""
        if not _speaks(value):
            raise UnreadableRecord(f"{len(value)} bytes are no event of any version; look at who wrote them")
        if value[:1] == b"{":
            return _from_json(value)
        try:
            if value[:2] == SINGLE_OBJECT:
                schema, start = _reading()[value[:10]], 10
            elif value[:1] == b"\x00" and self.registry_ids is not None:
                (number,) = struct.unpack(">I", value[1:5])
                schema, start = self._registered[number], 5
            else:
                raise KeyError
        except KeyError:
            raise UnknownEvent(
                f"bytes {value[:10].hex()} name no schema known here; run a Turnout version that knows it"
            ) from None
        return cast(dict[str, Any], schemaless_reader(io.BytesIO(value[start:]), schema.parsed, None))

    @cached_property
    def _registered(self) -> dict[int, WireSchema]:
        ids = self.registry_ids or {}
        return {
            ids[schema.event, schema.version]: schema
            for schema in wire_schemas()
            if (schema.event, schema.version) in ids
        }


def _speaks(value: bytes) -> bool:
    """Whether the bytes begin like an event of this version or a later one."""
    return value[:2] == SINGLE_OBJECT or value[:1] == b"\x00" or (value[:1] == b"{" and b'"event"' in value)


def _damaged(value: bytes, error: Exception) -> UnknownEvent:
    return UnknownEvent(f"{len(value)} bytes are no event ({type(error).__name__}); look at who wrote them")


def event_of(value: bytes | None, codec: Codec) -> Event:
    """The event that a record of an event topic holds. Raises as `Codec.decode` does."""
    event = codec.decode(value or b"")
    if not isinstance(event, Event):
        raise UnreadableRecord(f"a {type(event).__name__} is no event; look at who wrote it")
    return event


def document_of_event(event: Event | Snapshot) -> dict[str, Any]:
    """The event as people read it: instants in ISO 8601, bytes in base64, a snapshot's value as an object."""
    shown: dict[str, Any] = {"event": type(event).__name__, "version": NEWEST[type(event).__name__]}
    for name, item in to_record(event).items():
        if name == "value" and isinstance(event, Snapshot):
            item = orjson.loads(item)
        elif name.endswith("_at") and isinstance(item, int):
            item = iso(item)
        elif isinstance(item, bytes):
            item = base64.b64encode(item).decode()
        shown[name] = item
    return shown


def encode_json(event: Event | Snapshot) -> bytes:
    """The event as one JSON object."""
    return orjson.dumps(document_of_event(event))


def _from_json(value: bytes) -> dict[str, Any]:
    record: dict[str, Any] = orjson.loads(value)
    shape = TAGGED.get(str(record.get("event")))
    for field in fields(shape) if shape else ():
        item = record.get(field.name)
        if field.name.endswith("_at") and isinstance(item, str):
            record[field.name] = _micros(item)
        elif field.type is bytes and isinstance(item, str):
            record[field.name] = base64.b64decode(item)
        elif field.type is bytes:
            record[field.name] = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
    return record


def _micros(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
