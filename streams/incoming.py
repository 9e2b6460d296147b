"""A request record as a ChatRequest, by its content type."""

from collections.abc import Callable, Mapping

from agents.ports import RequestRecord
from schemas.chat_avro import decode_request
from schemas.errors import RequestError
from schemas.nesting import MOST, too_deep
from schemas.requests import ChatRequest, parse_request

AVRO = "avro/binary"
JSON = "application/json"


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
    if value and too_deep(value, request.body):
        message = f"The body is nested deeper than {MOST} levels; publish a flatter one."
        raise RequestError("invalid_request", message, request_id=request.routing.request_id)
    return request
