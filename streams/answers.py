"""Which answer of a request counts, and which chunks: the reader's rules, pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiokafka import ConsumerRecord

DEDUP_WINDOW_MS = 600_000


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it was published. `timestamp_ms`: the broker's. `tenant` is None where its topic decides it."""

    request_id: str
    tenant: str | None
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    repeatable: bool

    @property
    def source(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a stream. `restart`: it begins anew; drop the text of every chunk before it.

    `body`: the OpenAI chunk, or the whole final answer (then `last`) where the stream itself did not end.
    """

    body: dict[str, Any]
    run: int
    attempt: int
    sequence: int
    last: bool
    restart: bool

    @property
    def text(self) -> str:
        """The text that this chunk adds."""
        choice: dict[str, Any] = next(iter(self.body.get("choices") or ()), {})
        part = choice.get("delta") or choice.get("message") or {}
        return part.get("content") or ""


@dataclass(slots=True)
class ChunkOrder:
    """The reader's rule: only the highest (run, attempt) counts, and every sequence number once."""

    place: tuple[int, int] | None = None
    sequence: int = -1

    def take(self, body: dict[str, Any]) -> Chunk | None:
        """The chunk, or None where it belongs to an attempt that was given up or was seen before."""
        routing = body.get("routing") or {}
        place, sequence = (int(routing.get("run", 0)), int(routing.get("attempt", 0))), int(routing.get("sequence", 0))
        if self.place is not None and (place < self.place or (place == self.place and sequence <= self.sequence)):
            return None
        restart = self.place is not None and place > self.place
        self.place, self.sequence = place, sequence
        return Chunk(body, *place, sequence, bool(routing.get("last")), restart)


def header_of(record: ConsumerRecord, name: str) -> str | None:
    """The first header of that name as text."""
    return next((value.decode("utf-8", "replace") for key, value in record.headers if key == name and value), None)


def first_answer(records: Iterable[ConsumerRecord], sent: Sent | None) -> ConsumerRecord | None:
    """The final answer of a request among records with its id, in log order: the first that is its own.

    An earlier publication of the same id answers it too (Turnout gives no second answer), unless that answer was a
    retryable error that stood there before the request. Without `sent` the first record is the answer.
    """
    for record in records:
        if sent is None or _answers(record, sent):
            return record
    return None


def _answers(record: ConsumerRecord, sent: Sent) -> bool:
    source = header_of(record, "turnout-source")
    if source == sent.source:
        return True
    if source is not None and source.rsplit("-", 2)[0] != sent.topic:
        return False
    tenant = header_of(record, "turnout-tenant")
    if sent.tenant is not None and tenant is not None and tenant != sent.tenant:
        return False
    after = record.timestamp >= sent.timestamp_ms
    return after or (header_of(record, "turnout-retryable") != "true" and _within_window(record, sent))


def _within_window(record: ConsumerRecord, sent: Sent) -> bool:
    return bool(record.timestamp >= sent.timestamp_ms - DEDUP_WINDOW_MS)
