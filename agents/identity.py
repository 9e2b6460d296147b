"""Who asks: request id, tenant and trace of a record."""

import re
from dataclasses import dataclass

from agents.ports import RequestRecord
from schemas.errors import RequestError
from schemas.ids import DEFAULT_TENANT
from schemas.requests import Routing

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

    Raises RequestError `unauthorized` when a request on a tenant's topic claims another tenant.
    """
    request_id = record.header("request-id") or (routing.request_id if routing else None) or str(record.source)
    claimed = routing.tenant if routing else None
    tenant = record.topic_tenant or claimed or DEFAULT_TENANT
    identity = Identity(request_id[:256], tenant, *_trace(record, fresh_trace))
    if record.topic_tenant is not None and claimed not in (None, record.topic_tenant):
        message = (
            f"This topic belongs to the tenant {record.topic_tenant} and routing.tenant names another; "
            "remove routing.tenant or publish to the shared topic."
        )
        raise RequestError("unauthorized", message, param="routing.tenant")
    return identity


def _trace(record: RequestRecord, fresh: int) -> tuple[str, str]:
    given = TRACEPARENT.match(record.header("traceparent") or "")
    trace_id = given[1] if given else f"{fresh >> 64:032x}"
    return trace_id, f"{fresh & (1 << 64) - 1:016x}"
