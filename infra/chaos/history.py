"""What a run left behind: records of the topics, rows of SQL and the providers' bill, and nothing else."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar

from projections.fold import LogRecord
from schemas.events import AssignmentStarted, Event
from schemas.ids import Source
from schemas.snapshots import Snapshot

E = TypeVar("E", bound=Event)
Identity = tuple[str, str, str]
"""Request topic, tenant, request id."""


@dataclass(frozen=True, slots=True)
class Breach:
    """An invariant that does not hold for `subject`. `records`: what shows it, where it stands in the topics."""

    invariant: str
    subject: str
    says: str
    records: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """A record of a request topic."""

    source: Source
    request_id: str
    tenant: str

    @property
    def identity(self) -> Identity:
        return self.source.topic, self.tenant, self.request_id


@dataclass(frozen=True, slots=True)
class Answer:
    """A record of a response topic. `place`: topic-partition-offset; `source`: the request it names."""

    place: str
    source: Source
    request_id: str
    tenant: str
    status: str
    retryable: bool

    @property
    def identity(self) -> Identity:
        return self.source.topic, self.tenant, self.request_id


@dataclass(frozen=True, slots=True)
class Call:
    """A call that reached a provider, as the provider would charge it. `attempt`: the id that came with it."""

    attempt: str
    deployment: str
    status: int
    tokens_in: int
    tokens_out: int
    tokens_cached: int


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-USD per million tokens."""

    fresh: int
    cached: int
    out: int

    def of(self, tokens_in: int, tokens_cached: int, tokens_out: int) -> int:
        """Nano-USD, rounded half up once."""
        sum_ = (tokens_in - tokens_cached) * self.fresh + tokens_cached * self.cached + tokens_out * self.out
        return (sum_ + 500_000) // 1_000_000


@dataclass(frozen=True, slots=True)
class Written:
    """A record of llm.state. `snapshot` is None for a tombstone."""

    key: str
    partition: int
    offset: int
    snapshot: Snapshot | None


@dataclass(frozen=True, slots=True)
class SqlRequest:
    """A row of the view `requests`."""

    status: str
    code: str
    deployment: str
    nano_usd: int


@dataclass(frozen=True, slots=True)
class Sql:
    """What SQL holds. `events`: (topic, partition, offset) -> (event, event id); `drift`: its rows as text."""

    events: Mapping[tuple[str, int, int], tuple[str, str]] = field(default_factory=dict)
    requests: Mapping[str, SqlRequest] = field(default_factory=dict)
    costs: Mapping[str, int] = field(default_factory=dict)
    drift: tuple[str, ...] = ()


class Owner(NamedTuple):
    """Of a partition. `member`: its id in the consumer group; one whom the group expels comes back with another."""

    worker: str
    member: str


@dataclass(frozen=True)
class History:
    """`published`: sources that were acknowledged to the publisher. `events`: every event topic and control, in log order.

    `prices`: by deployment. `replayed`: what streams.replay found to differ. `ended_at`: broker time in microseconds
    when reading began. `owners_stay`: no owner was disturbed, so no request has a reason to run twice.
    """

    requests: tuple[Request, ...] = ()
    published: tuple[Source, ...] = ()
    answers: tuple[Answer, ...] = ()
    events: tuple[LogRecord, ...] = ()
    state: tuple[Written, ...] = ()
    calls: tuple[Call, ...] = ()
    prices: Mapping[str, Price] = field(default_factory=dict)
    sql: Sql = field(default_factory=Sql)
    replayed: tuple[str, ...] = ()
    prefix: str = "llm."
    ended_at: int = 0
    owners_stay: bool = False

    def kind(self, topic: str) -> str:
        """The topic's name without the prefix."""
        return topic.removeprefix(self.prefix)

    def of(self, event: type[E]) -> list[tuple[LogRecord, E]]:
        """Records of one event, or of a family, with the event itself."""
        return [(record, record.event) for record in self.events if isinstance(record.event, event)]

    @cached_property
    def answers_by_source(self) -> dict[Source, list[Answer]]:
        found: dict[Source, list[Answer]] = defaultdict(list)
        for answer in self.answers:
            found[answer.source].append(answer)
        return found

    @cached_property
    def markers(self) -> dict[tuple[str, int], list[tuple[int, Owner]]]:
        """Request partition -> (run, owner) of each of its owners, in order."""
        found: dict[tuple[str, int], list[tuple[int, Owner]]] = defaultdict(list)
        for record, event in self.of(AssignmentStarted):
            if event.role == "router":
                owner = Owner(event.worker, event.member)
                found[event.topic, event.partition].append((record.offset, owner))
        return {place: sorted(owners) for place, owners in found.items()}


def attempt_id(source: Source, run: int, number: int) -> str:
    """The id that a call carries to its provider, and its cost in the log."""
    return f"{source}@{run}/{number}"
