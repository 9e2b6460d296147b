"""A request record as a ChatRequest, by its content type."""

from collections.abc import Callable, Mapping
from typing import Any

from agents.ports import RequestRecord
from schemas.chat_avro import decode_request
from schemas.errors import RequestError
from schemas.requests import ChatRequest, parse_request

AVRO = "avro/binary"
JSON = "application/json"
# orjson reads 1,024 levels and writes 254: what it could not write to a provider is the caller's to mend.
MAX_DEPTH = 200


def request_reader(
    registry_ids: Mapping[tuple[str, int], int] | None,
) -> Callable[[RequestRecord, int], ChatRequest]:
    """Reads a record of at most so many bytes; raises RequestError with what to do."""

    def read(record: RequestRecord, max_bytes: int) -> ChatRequest:
        content_type = (record.header("content-type") or JSON).split(";")[0].strip()
        if content_type == AVRO:
            return _flat_enough(decode_request(record.value, max_bytes, registry_ids), record.value)
        if content_type == JSON:
            return _flat_enough(parse_request(record.value, max_bytes=max_bytes), record.value)
        message = f"The content-type header must be {JSON} or {AVRO}."
        raise RequestError("invalid_request", message, param="content-type")

    return read


def _flat_enough(request: ChatRequest, value: bytes | None) -> ChatRequest:
    """The request, unless it is nested too deep to be sent."""
    # A body cannot be deeper than it has brackets, and hardly any has that many.
    if value and value.count(b"{") + value.count(b"[") > MAX_DEPTH and _deeper(request.body, MAX_DEPTH):
        message = f"The body is nested deeper than {MAX_DEPTH} levels; publish a flatter one."
        raise RequestError("invalid_request", message)
    return request


def _deeper(body: Any, levels: int) -> bool:
    """Whether lists and objects stand in each other more than `levels` deep; level by level, so without recursion."""
    level = [body]
    for _ in range(levels):
        level = [
            item
            for node in level
            for item in (node.values() if isinstance(node, dict) else node)
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True
