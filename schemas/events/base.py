"""What every event carries. Events are frozen facts in the past tense; they never carry a prompt, an answer or a key."""

from dataclasses import dataclass
from typing import ClassVar

from schemas.ids import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`occurred_at`: microseconds since the epoch by the worker's estimate of the broker's clock; it informs only."""

    VERSION: ClassVar[int] = 1

    event_id: str
    occurred_at: int
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEvent(Event):
    """An event of a request. `run`: offset of the AssignmentStarted under which it ran; it grows with every owner.

    `accepted_at`: broker time of the request record in microseconds; it only sorts.
    """

    source: Source
    run: int
    request_id: str
    tenant: str
    trace_id: str
    accepted_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentStarted(Event):
    """A worker became the owner of a partition. The offset of this record is the epoch (`run`) of that ownership.

    Since version 2, `member` and `generation` of the consumer group: another member id of the same worker says that the
    group had expelled it. "" and -1 where the group had told neither yet.
    """

    VERSION: ClassVar[int] = 2

    role: str
    topic: str
    partition: int
    member: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockTicked(Event):
    """Time passed on a partition. Folds apply the control log up to `control_offset` (the last applied) here."""

    topic: str
    partition: int
    control_offset: int
