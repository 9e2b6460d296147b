"""What came of the requests of each tenant, by minute, hour and day of broker time: what targets are measured by.

llm.decisions is keyed by request partition, so a tenant's counts are spread over partitions; they merge by addition.
A bucket is a subject of its own in a ring of slots: a record rewrites three small snapshots, never a whole window.
"""

from projections.fold import LogRecord
from projections.histogram import add
from schemas.events import Event, RequestCompleted
from schemas.inforce import InForce
from schemas.merge import BUCKETS
from schemas.state import RequestCounts

CALLERS_FAULT = frozenset({
    "invalid_request", "request_too_large", "unknown_model", "context_length_exceeded", "cost_limit_exceeded",
    "provider_rejected", "content_filtered", "unauthorized",
})  # fmt: skip
LIMITED = frozenset({"budget_exhausted", "throttled"})
NOTHING = RequestCounts()
Stepped = tuple[RequestCounts, tuple[Event, ...]]


class RequestsFold:
    """kinds `requests_minute`, `requests_hour`, `requests_day`: `slot/tenant` -> RequestCounts.

    Every request has one RequestCompleted, also one that was rejected.
    """

    version: int = 1
    reads: tuple[type[Event], ...] = (RequestCompleted,)

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._bucket = BUCKETS[kind]

    def initial(self) -> RequestCounts:
        return NOTHING

    def subject(self, event: Event) -> str | None:
        raise AssertionError("the subject depends on the time")

    def subject_at(self, event: Event, logged_at: int) -> str | None:
        if not isinstance(event, RequestCompleted):
            return None
        return f"{logged_at // self._bucket.width % self._bucket.slots}/{event.tenant}"

    def step(self, state: RequestCounts, record: LogRecord, inforce: InForce) -> Stepped:
        event = record.event
        assert isinstance(event, RequestCompleted)
        start = record.logged_at // self._bucket.width
        # The ring came round: what the slot held has left every window.
        return counted(state if state.start == start else RequestCounts(start), event), ()

    def tick(self, state: RequestCounts, subject: str, record: LogRecord, inforce: InForce) -> Stepped:
        return state, ()


SLA_FOLDS = tuple(RequestsFold(kind) for kind in BUCKETS)


def counted(counts: RequestCounts, event: RequestCompleted) -> RequestCounts:
    """The counts with one more request."""
    ok = event.status == "ok"
    refused, limited = event.code in CALLERS_FAULT, event.code in LIMITED
    return RequestCounts(
        counts.start, counts.ok + ok, counts.failed + (not ok and not refused and not limited), counts.limited + limited,
        counts.refused + refused, counts.fallbacks + (ok and event.fallback), counts.cost + event.cost_nano_usd,
        add(counts.latency, event.total_ms) if ok else counts.latency,
    )  # fmt: skip
