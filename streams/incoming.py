"""A request record as a ChatRequest, by its content type."""

from agents.ports import RequestRecord
from schemas.chat_avro import decode_request
from schemas.errors import RequestError
from schemas.requests import ChatRequest, parse_request

JSON_TYPES = (None, "", "application/json")


def read_request(record: RequestRecord, max_bytes: int) -> ChatRequest:
    """Raises RequestError with what to do."""
    content_type = record.header("content-type")
    if content_type == "avro/binary":
        return decode_request(record.value or b"", max_bytes)
    if content_type is None or content_type.split(";")[0].strip() in JSON_TYPES:
        return parse_request(record.value, max_bytes=max_bytes)
    raise RequestError(
        "invalid_request", "The content-type header must be application/json or avro/binary.", param="content-type"
    )
