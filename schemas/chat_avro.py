"""Chat requests, answers and chunks in Avro, beside the JSON that they mirror without loss.

The hand-written `.avsc` files are the source; `schemas/avro_json.py` translates as they say.
"""

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, cast

import orjson
from fastavro import schemaless_reader, schemaless_writer

from schemas.avro_json import MAX_ITEMS, Convert, Malformed, TooMany, Unfit, broken, measure, packer, unpacker
from schemas.codec import CONFLUENT, SINGLE_OBJECT, WireSchema
from schemas.errors import OperationError, RequestError
from schemas.requests import ChatRequest, request_of

CHAT_RECORDS = ("ChatRequest", "ChatResponse", "ResponseChunk")
VERSION = 1
RegistryIds = Mapping[tuple[str, int], int]


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
    except Unfit:
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
    except TooMany:
        message = f"The request has more than {MAX_ITEMS} messages and list items; send fewer."
        raise RequestError("request_too_large", message) from None
    except Malformed as error:
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
        schema.event: _Translation(schema, packer(schema.document), unpacker(schema.document, ""))
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
    """Raises Malformed or TooMany. Single-object encoding is read with and without a registry."""
    translation = _translations()[name]
    schema = translation.schema
    if value.startswith(schema.header):
        start = len(schema.header)
    elif registry_ids is not None and value.startswith(_head(schema, registry_ids)):
        start = 5
    else:
        raise Malformed(_wrong_head(schema, value, registry_ids))
    if len(value) > MAX_ITEMS:
        measure(schema.parsed, value, start)
    reader = io.BytesIO(value)
    reader.seek(start)
    try:
        record = schemaless_reader(reader, schema.parsed, None)
    except Exception:
        # The library raises many kinds (EOFError, IndexError, UnicodeDecodeError, ...), some with values in their text.
        raise Malformed(broken(name)) from None
    if left := len(value) - reader.tell():
        raise Malformed(f"{left} bytes stand after the end of the {name} record; publish one record a value")
    return cast(dict[str, Any], translation.unpack(record))


def _decode_answer(name: str, value: bytes, registry_ids: RegistryIds | None) -> dict[str, Any]:
    try:
        return _decode(name, value, registry_ids)
    except TooMany:
        raise OperationError(f"the {name} has more than {MAX_ITEMS} items; it cannot be read") from None
    except Malformed as error:
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
