"""Which requests have an answer, or are on their way to one: one final answer per request.

Pure: time is an argument. Ids are kept for the deduplication window; sources until the window has passed as well, since a
record that was answered but not committed is read again by the next owner.
"""

from dataclasses import dataclass
from enum import Enum

from agents.recent import Recent
from schemas.ids import Source

Identity = tuple[str, str, str]
"""Request topic, tenant, request id."""


class Claim(Enum):
    """What to do with a record."""

    RUN = "run"
    ANSWERED = "answered"
    DUPLICATE = "duplicate"


@dataclass
class Claims:
    """`window`: microseconds for which an id is remembered after its answer."""

    window: int

    def __post_init__(self) -> None:
        self._running: dict[Identity, Source] = {}
        self._final: Recent[Identity, Source] = Recent(self.window)
        self._answered: Recent[Source, Source] = Recent(self.window)

    def claim(self, identity: Identity, source: Source, now: int) -> tuple[Claim, Source]:
        """RUN claims the id for `source`. DUPLICATE names the source whose answer serves both."""
        if self._answered.get(source, now) is not None:
            return Claim.ANSWERED, source
        known = self._final.get(identity, now) or self._running.get(identity)
        if known is not None and known != source:
            return Claim.DUPLICATE, known
        self._running[identity] = source
        return Claim.RUN, source

    def answered(self, identity: Identity, source: Source, *, retryable: bool, now: int) -> None:
        """`source` has its final answer. After a retryable error the id may run again under another source."""
        self._answered.put(source, source, now)
        if not retryable:
            self._final.put(identity, source, now)
        self.release(identity, source)

    def release(self, identity: Identity, source: Source) -> None:
        """The run ended: without an answer (its partition left) another run may claim the id."""
        if self._running.get(identity) == source:
            del self._running[identity]

    def drop_partition(self, topic: str, partition: int) -> None:
        """The partition left: its next owner knows better than these memories."""

        def stays(source: Source) -> bool:
            return (source.topic, source.partition) != (topic, partition)

        self._running = {identity: source for identity, source in self._running.items() if stays(source)}
        self._final.keep(stays)
        self._answered.keep(stays)
