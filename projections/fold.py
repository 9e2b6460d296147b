"""What a fold is: subjects that step with records of one partition. No clock, no randomness: both stand in the log."""

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from schemas.events import Event
from schemas.inforce import InForce

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class LogRecord:
    """An event where it stands. `logged_at`: broker time in microseconds."""

    topic: str
    partition: int
    offset: int
    logged_at: int
    event: Event

    @property
    def position(self) -> str:
        """`topic-partition-offset`, as derived events name what they come from."""
        return f"{self.topic}-{self.partition}-{self.offset}"


class SubjectFold(Protocol[S]):
    """A fold with one state a subject. States are values of schemas.state and never change in place.

    Steps are total. They return the same object where nothing changes, and the events that follow from the record.
    """

    kind: str
    version: int
    # Classes of events (their subclasses included): no other touches a subject, so nobody need decode it for this fold.
    reads: tuple[type[Event], ...]

    def initial(self) -> S:
        """The state of a subject that no record touched."""
        ...

    def subject(self, event: Event) -> str | None:
        """The one subject that the event touches, or None."""
        ...

    def step(self, state: S, record: LogRecord, inforce: InForce) -> tuple[S, tuple[Event, ...]]:
        """The next state after a record that touches the subject."""
        ...

    def tick(self, state: S, subject: str, record: LogRecord, inforce: InForce) -> tuple[S, tuple[Event, ...]]:
        """The next state after a ClockTicked."""
        ...


@runtime_checkable
class SlottedFold(Protocol):
    """A fold whose subject depends on when the record was logged: a bucket of time. Time that passes changes none."""

    def subject_at(self, event: Event, logged_at: int) -> str | None:
        """The one subject that the event touches, or None. `logged_at`: broker time in microseconds."""
        ...


@runtime_checkable
class DraftedFold(Protocol):
    """A fold that keeps drafts, which change in place and which only it and their owner see.

    `fixed` hands a state out: a value that no later record changes, the same object until the draft changes.
    """

    def draft(self, state: Any) -> Any:
        """A draft that stands where the state does; the state itself stays as it is."""
        ...

    def fixed(self, draft: Any) -> Any:
        """The state that the draft stands at."""
        ...

    def stepped(self, draft: Any, record: LogRecord, inforce: InForce) -> tuple[bool, tuple[Event, ...]]:
        """Whether the record changed the draft, and the events that follow."""
        ...

    def ticked(self, draft: Any, subject: str, record: LogRecord, inforce: InForce) -> tuple[bool, tuple[Event, ...]]:
        """The same after a ClockTicked."""
        ...
