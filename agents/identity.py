"""Who asks: request id, tenant and trace of a record."""

import re
from dataclasses import dataclass

from agents.ports import RequestRecord
from schemas.errors import RequestError
from schemas.ids import DEFAULT_TENANT
from schemas.requests import Routing

MAX_REQUEST_ID = 256
TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$")


@dataclass(frozen=True, slots=True)
class Identity:
    """`span_id` is ours; the caller's trace goes on in `trace_id`."""

    request_id: str
    tenant: str
    trace_id: str
    span_id: str

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"


def identify(record: RequestRecord, routing: Routing | None, fresh_trace: int) -> Identity:
    """Header `request-id`, else `routing.request_id`, else topic-partition-offset. `fresh_trace`: 192 random bits.

    Raises RequestError `unauthorized` when a request on a tenant's topic claims another tenant, `invalid_request` when
    the header is no id.
    """
    given = _given_id(record)
    return _identity(record, routing, fresh_trace, given)


def unidentified(
    record: RequestRecord, routing: Routing | None, fresh_trace: int, named: str | None = None
) -> Identity:
    """The identity of a request that is refused: what it claims does not count, and an id that is none is passed over.

    `named`: the id that an unreadable body named.
    """
    try:
        given = _given_id(record) or named
    except RequestError:
        given, routing = None, None
    unclaimed = routing.model_copy(update={"tenant": None}) if routing else None
    return _identity(record, unclaimed, fresh_trace, given)


def _identity(record: RequestRecord, routing: Routing | None, fresh_trace: int, given: str | None) -> Identity:
    request_id = given or (routing.request_id if routing else None) or str(record.source)
    claimed = routing.tenant if routing else None
    tenant = record.topic_tenant or claimed or DEFAULT_TENANT
    identity = Identity(request_id, tenant, *_trace(record, fresh_trace))
    if record.topic_tenant is not None and claimed not in (None, record.topic_tenant):
        message = (
            f"This topic belongs to the tenant {record.topic_tenant} and routing.tenant names another; "
            "remove routing.tenant or publish to the shared topic."
        )
        raise RequestError("unauthorized", message, param="routing.tenant")
    return identity


def _given_id(record: RequestRecord) -> str | None:
    """The header `request-id`. Two ids must never become one, so none is cut or mended: the second would get no answer."""
    raw = next((item for name, item in record.headers if name == "request-id" and item), None)
    if raw is None:
        return None
    problem = f"has {len(raw)} bytes and the limit is {MAX_REQUEST_ID}; send a shorter one"
    if len(raw) <= MAX_REQUEST_ID:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            problem = "is not UTF-8; send it as UTF-8 text"
    raise RequestError("invalid_request", f"The header request-id {problem}.", param="request-id")


def _trace(record: RequestRecord, fresh: int) -> tuple[str, str]:
    given = TRACEPARENT.match(record.header("traceparent") or "")
    trace_id = given[1] if given else f"{fresh >> 64:032x}"
    return trace_id, f"{fresh & (1 << 64) - 1:016x}"
