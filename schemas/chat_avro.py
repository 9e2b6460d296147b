"""Chat requests, answers and chunks in Avro, beside the JSON that they mirror without loss.

The hand-written `.avsc` files are the source. Two attributes in them steer the translation: `json` marks a string that
holds JSON text, `of` names the JSON field that a second Avro field stands for. What fits no typed field of a record (an
unknown field, an explicit null, an unusual type) stands in its `extra` map as JSON text.
"""

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, cast

import orjson
from fastavro import schemaless_reader, schemaless_writer

from schemas.codec import CONFLUENT, SINGLE_OBJECT, WireSchema
from schemas.errors import OperationError, RequestError
from schemas.requests import ChatRequest, request_of
from schemas.shapes import NAMESPACE

CHAT_RECORDS = ("ChatRequest", "ChatResponse", "ResponseChunk")
VERSION = 1
EXTRA = "extra"
LONG_LIMIT = 2**63
# An array item takes one byte on the wire and up to 700 in memory, so a few MB of empty messages would become GBs.
# Values of at most this many bytes cannot hold more items than this, so only larger ones are measured first.
MAX_ITEMS = 65_536
RegistryIds = Mapping[tuple[str, int], int]
Convert = Callable[[Any], Any]


class _Unfit(Exception):
    """A JSON value that a typed field cannot hold."""


class _Malformed(Exception):
    """Bytes that are no record of ours; the text is a sentence that quotes no value."""


class _TooMany(Exception):
    """More items than MAX_ITEMS."""


@cache
def chat_schemas() -> tuple[WireSchema, ...]:
    """The schemas of requests, answers and chunks, as their files hold them."""
    folder = resources.files("schemas").joinpath("avro")
    return tuple(
        WireSchema(name, VERSION, orjson.loads(folder.joinpath(f"{name}.v{VERSION}.avsc").read_bytes()))
        for name in CHAT_RECORDS
    )


def encode_request(body: dict[str, Any], registry_ids: RegistryIds | None = None) -> bytes:
    """A chat-completions body, with its `routing`, in Avro. Raises RequestError `invalid_request`."""
    try:
        return _encode("ChatRequest", body, registry_ids)
    except _Unfit:
        message = "`messages` must be a list of objects, each with a `role`; correct it."
        raise RequestError("invalid_request", message, param="messages") from None
    except (orjson.JSONEncodeError, UnicodeEncodeError):
        raise RequestError("invalid_request", "The body holds what JSON has no form for; remove it.") from None


def decode_request(value: bytes | None, max_bytes: int, registry_ids: RegistryIds | None = None) -> ChatRequest:
    """Parse an Avro request. Raises RequestError `request_too_large` or `invalid_request` with what to do."""
    if not value:
        raise RequestError("invalid_request", "The record has no value; publish a ChatRequest in Avro.")
    if len(value) > max_bytes:
        limit = f"the limit is {max_bytes}; send a smaller one or raise max_request_bytes."
        raise RequestError("request_too_large", f"The request has {len(value)} bytes and {limit}")
    try:
        body = _decode("ChatRequest", value, registry_ids)
    except _TooMany:
        message = f"The request has more than {MAX_ITEMS} messages and list items; send fewer."
        raise RequestError("request_too_large", message) from None
    except _Malformed as error:
        raise RequestError("invalid_request", f"{error}.") from None
    return request_of(body, len(value))


def encode_response(body: dict[str, Any], registry_ids: RegistryIds | None = None) -> bytes:
    """A final answer, a completion or an error, in Avro."""
    return _encode("ChatResponse", body, registry_ids)


def decode_response(value: bytes, registry_ids: RegistryIds | None = None) -> dict[str, Any]:
    """The inverse of `encode_response`. Raises OperationError when the bytes are no ChatResponse."""
    return _decode_answer("ChatResponse", value, registry_ids)


def encode_chunk(body: dict[str, Any], registry_ids: RegistryIds | None = None) -> bytes:
    """A chunk of a streamed answer in Avro."""
    return _encode("ResponseChunk", body, registry_ids)


def decode_chunk(value: bytes, registry_ids: RegistryIds | None = None) -> dict[str, Any]:
    """The inverse of `encode_chunk`. Raises OperationError when the bytes are no ResponseChunk."""
    return _decode_answer("ResponseChunk", value, registry_ids)


@dataclass(frozen=True, slots=True)
class _Translation:
    """A record between its JSON object (`pack` reads it) and its Avro dict (`unpack` reads it)."""

    schema: WireSchema
    pack: Convert
    unpack: Convert


@cache
def _translations() -> dict[str, _Translation]:
    return {
        schema.event: _Translation(schema, _packer(schema.document), _unpacker(schema.document, ""))
        for schema in chat_schemas()
    }


def _encode(name: str, body: dict[str, Any], registry_ids: RegistryIds | None) -> bytes:
    translation = _translations()[name]
    out = io.BytesIO(_head(translation.schema, registry_ids))
    out.seek(0, io.SEEK_END)
    schemaless_writer(out, translation.schema.parsed, translation.pack(body))
    return out.getvalue()


def _head(schema: WireSchema, registry_ids: RegistryIds | None) -> bytes:
    if registry_ids is None:
        return schema.header
    return struct.pack(">bI", CONFLUENT, registry_ids[schema.event, schema.version])


def _decode(name: str, value: bytes, registry_ids: RegistryIds | None) -> dict[str, Any]:
    """Raises _Malformed or _TooMany. Single-object encoding is read with and without a registry."""
    translation = _translations()[name]
    schema = translation.schema
    if value.startswith(schema.header):
        start = len(schema.header)
    elif registry_ids is not None and value.startswith(_head(schema, registry_ids)):
        start = 5
    else:
        raise _Malformed(_wrong_head(schema, value, registry_ids))
    if len(value) > MAX_ITEMS:
        _measure(schema.parsed, value, start)
    reader = io.BytesIO(value)
    reader.seek(start)
    try:
        record = schemaless_reader(reader, schema.parsed, None)
    except Exception:
        # The library raises many kinds (EOFError, IndexError, UnicodeDecodeError, ...), some with values in their text.
        raise _Malformed(_broken(name)) from None
    if left := len(value) - reader.tell():
        raise _Malformed(f"{left} bytes stand after the end of the {name} record; publish one record a value")
    return cast(dict[str, Any], translation.unpack(record))


def _decode_answer(name: str, value: bytes, registry_ids: RegistryIds | None) -> dict[str, Any]:
    try:
        return _decode(name, value, registry_ids)
    except _TooMany:
        raise OperationError(f"the {name} has more than {MAX_ITEMS} items; it cannot be read") from None
    except _Malformed as error:
        raise OperationError(str(error)) from None


def _wrong_head(schema: WireSchema, value: bytes, registry_ids: RegistryIds | None) -> str:
    file = f"schemas/avro/{schema.event}.v{schema.version}.avsc"
    if value[:2] == SINGLE_OBJECT:
        return f"The fingerprint {value[2:10].hex()} names no {schema.event} known here; write with {file}"
    if value[:1] == b"\x00" and registry_ids is not None:
        number = int.from_bytes(value[1:5], "big")
        known = registry_ids[schema.event, schema.version]
        return f"The schema id {number} names no {schema.event} known here; write with the id {known} ({file})"
    if value[:1] == b"\x00":
        return f"No schema registry is configured; write the {schema.event} in single-object encoding ({file})"
    return (
        f"The value does not begin as Avro does (C3 01 and the fingerprint of {file}); "
        "correct it, or set the content-type header to application/json"
    )


def _broken(name: str) -> str:
    return f"The bytes after the header are not a whole {name} record; write it with its schema and send all of it"


def _packer(node: Any) -> Convert:
    """JSON value -> Avro datum; the function raises _Unfit."""
    match node:
        case list():
            branches = [(_branch_name(branch), _packer(branch)) for branch in node if branch != "null"]
            return lambda value: _first_fit(branches, value)
        case {"type": "record"}:
            return _record_packer(node)
        case {"type": "array", "items": items}:
            each = _packer(items)
            return lambda value: [each(item) for item in value] if isinstance(value, (list, tuple)) else _unfit()
        case {"type": "map", "values": values}:
            each = _packer(values)
            return lambda value: {_text(key): each(item) for key, item in _object(value).items()}
        case _:
            return SCALARS[node]


def _record_packer(node: dict[str, Any]) -> Convert:
    fields: dict[str, list[tuple[str, Convert]]] = {}
    required = {field["name"] for field in node["fields"] if "default" not in field}
    for field in node["fields"]:
        if field["name"] != EXTRA:
            pack = _json_text if field.get("json") else _packer(field["type"])
            fields.setdefault(field.get("of", field["name"]), []).append((field["name"], pack))

    def packed(value: Any) -> dict[str, Any]:
        record: dict[str, Any] = {}
        extra: dict[str, str] = {}
        for key, item in _object(value).items():
            for name, pack in fields.get(key, ()) if item is not None else ():
                try:
                    record[name] = pack(item)
                    break
                except _Unfit:
                    continue
            else:
                extra[_text(key)] = orjson.dumps(item).decode()
        if not record.keys() >= required:
            raise _Unfit
        record[EXTRA] = extra
        return record

    return packed


def _branch_name(branch: Any) -> str:
    if isinstance(branch, str):
        return branch
    return f"{NAMESPACE}.{branch['name']}" if branch["type"] == "record" else cast(str, branch["type"])


def _first_fit(branches: list[tuple[str, Convert]], value: Any) -> tuple[str, Any]:
    """The datum with the name of its branch: fastavro then tries none (an answer: 71 us, else 192)."""
    for name, pack in branches:
        try:
            return name, pack(value)
        except _Unfit:
            continue
    raise _Unfit


def _unfit() -> Any:
    raise _Unfit


def _object(value: Any) -> dict[str, Any]:
    return value if type(value) is dict else cast(dict[str, Any], _unfit())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else cast(str, _unfit())


def _long(value: Any) -> int:
    return value if type(value) is int and -LONG_LIMIT <= value < LONG_LIMIT else cast(int, _unfit())


def _double(value: Any) -> float:
    # An integer beyond 2**53 would come back as another one.
    fits = type(value) is float or (type(value) is int and abs(value) <= 2**53)
    return float(value) if fits else cast(float, _unfit())


def _boolean(value: Any) -> bool:
    return value if type(value) is bool else cast(bool, _unfit())


def _json_text(value: Any) -> tuple[str, str]:
    return "string", orjson.dumps(value).decode()


SCALARS: dict[str, Convert] = {"string": _text, "long": _long, "double": _double, "boolean": _boolean}


def _unpacker(node: Any, path: str) -> Convert:
    """Avro datum -> JSON value; the function raises _Malformed. `path`: where it stands, for sentences."""
    match node:
        case list():
            shaped = [branch for branch in node if not isinstance(branch, str)]
            (unpack,) = [_unpacker(branch, path) for branch in shaped] or [_same]
            return unpack
        case {"type": "record"}:
            return _record_unpacker(node, path)
        case {"type": "array", "items": {"type": "record"} as items}:
            each = _unpacker(items, path)
            return lambda value: [each(item) for item in value]
        case _:
            return _same


def _record_unpacker(node: dict[str, Any], path: str) -> Convert:
    dotted = f"{path}." if path else ""
    fields: list[tuple[str, str, Convert]] = []
    for field in node["fields"]:
        name = field["name"]
        if name != EXTRA:
            where = dotted + name
            unpack = _json_reader(where) if field.get("json") else _unpacker(field["type"], where)
            fields.append((name, field.get("of", name), unpack))

    def unpacked(record: dict[str, Any]) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for name, key, unpack in fields:
            if (item := record[name]) is not None:
                if key in value:
                    raise _Malformed(f"`{dotted}{name}` and `{dotted}{key}` are both set; set one of them")
                value[key] = unpack(item)
        for key, text in record[EXTRA].items():
            if key in value:
                raise _Malformed(f"`{dotted}{EXTRA}` repeats a field that is set; set it once")
            value[key] = _json(text, dotted + EXTRA)
        return value

    return unpacked


def _json_reader(where: str) -> Convert:
    return lambda text: _json(text, where)


def _json(text: str, where: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _Malformed(f"`{where}` must hold JSON text; write its value as JSON") from None


def _same(value: Any) -> Any:
    return value


def _measure(schema: Any, value: bytes, start: int) -> None:
    """Walk the bytes without building anything. Raises _TooMany, or _Malformed where a length leads past the end."""
    items = 0

    def number(at: int) -> tuple[int, int]:
        total = shift = 0
        while shift < 70:
            byte = value[at]
            at += 1
            total |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (total >> 1) ^ -(total & 1), at
            shift += 7
        raise IndexError

    def skipped(node: Any, at: int) -> int:
        nonlocal items
        if isinstance(node, list):
            branch, at = number(at)
            return skipped(node[branch] if branch >= 0 else [], at)
        kind = node["type"] if isinstance(node, dict) else node
        if kind == "record":
            for field in node["fields"]:
                at = skipped(field["type"], at)
            return at
        if kind in ("array", "map"):
            while True:
                count, at = number(at)
                if count < 0:
                    count, (_, at) = -count, number(at)
                if count == 0:
                    return at
                items += count
                if items > MAX_ITEMS:
                    raise _TooMany
                for _ in range(count):
                    at = skipped("string", at) if kind == "map" else at
                    at = skipped(node["values"] if kind == "map" else node["items"], at)
        if kind == "string":
            length, at = number(at)
            if not 0 <= length <= len(value) - at:
                raise IndexError
            return at + length
        if kind == "long":
            return number(at)[1]
        return at + {"null": 0, "boolean": 1, "double": 8}[kind]

    try:
        skipped(schema, start)
    except (IndexError, RecursionError):
        raise _Malformed(_broken("record")) from None
