"""What the agents need from outside, as small Protocols. `streams` brings the real ones."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agents.execution.outcome import Outcome
from schemas.catalog import Deployment
from schemas.events import Event
from schemas.ids import Source
from schemas.requests import Priority

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A record of a request topic. `accepted_at`: broker time in microseconds; `run`: our ownership of its partition.

    `topic_tenant`: the tenant that the topic belongs to, None on a shared one. `priority`: of requests that name none.
    """

    source: Source
    run: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    accepted_at: int
    topic_tenant: str | None = None
    priority: Priority = "standard"

    def header(self, name: str) -> str | None:
        """The first header of that name as text; undecodable bytes are replaced."""
        for key, value in self.headers:
            if key == name and value is not None:
                return value.decode("utf-8", "replace")
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    """A final answer, ready to publish. `status`: ok | error."""

    body: dict[str, Any]
    status: str
    retryable: bool
    request_id: str
    tenant: str
    traceparent: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """A final answer, or a chunk of one, as the record that will stand in its topic."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What could not be read: never the bytes, which stand in the request topic while it keeps them."""

    reason: str
    source: Source
    length: int
    sha256: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Planned:
    """An event with the place it goes to. `key` decides the partition where `partition` is None."""

    kind: str
    event: Event
    key: str
    partition: int | None = None


class EventLog(Protocol):
    """The log. Every call returns once the broker has acknowledged; LeaseLost when we may not write any more.

    `seal` and `chunk` raise RequestError for what is larger than a record of its topic may be; an error is never that large.
    """

    def seal(self, record: RequestRecord, answer: Answer) -> Sealed: ...
    async def append(self, events: Sequence[Planned]) -> None: ...
    async def answer(self, sealed: Sealed) -> None: ...
    async def dead_letter(self, record: RequestRecord, letter: DeadLetter) -> None: ...
    def seal_chunk(self, record: RequestRecord, body: dict[str, Any], request_id: str) -> Sealed: ...
    async def chunk(self, sealed: Sealed) -> Awaitable[object]: ...


class Clock(Protocol):
    """Broker time in microseconds."""

    def now(self) -> int: ...


class Caller(Protocol):
    """Calls a deployment. Never raises but CancelledError. `deadline` is the event loop's time in seconds."""

    def call(
        self, deployment: Deployment, request_body: dict[str, Any], *, deadline: float, attempt_id: str,
        traceparent: str | None,
    ) -> Awaitable[Outcome]: ...  # fmt: skip

    def stream(
        self, deployment: Deployment, request_body: dict[str, Any], *, deadline: float, attempt_id: str,
        traceparent: str | None, on_delta: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> Awaitable[Outcome]: ...  # fmt: skip
