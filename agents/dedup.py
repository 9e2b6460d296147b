"""Which requests have an answer, or are on their way to one: one final answer per request.

Pure: time is an argument. Ids are kept for the deduplication window; sources until the window has passed as well, since a
record that was answered but not committed is read again by the next owner.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum

from schemas.ids import Source

Identity = tuple[str, str, str]
"""Request topic, tenant, request id."""


class Claim(Enum):
    """What to do with a record."""

    RUN = "run"
    ANSWERED = "answered"
    DUPLICATE = "duplicate"


@dataclass(slots=True)
class _Known:
    source: Source
    final: bool
    at: int


@dataclass
class Claims:
    """`window`: microseconds for which an id is remembered."""

    window: int
    _ids: OrderedDict[Identity, _Known] = field(default_factory=OrderedDict)
    _answered: OrderedDict[Source, int] = field(default_factory=OrderedDict)

    def claim(self, identity: Identity, source: Source, now: int) -> tuple[Claim, Source]:
        """RUN claims the id for `source`. DUPLICATE names the source whose answer serves both."""
        self._forget(now)
        if source in self._answered:
            return Claim.ANSWERED, source
        known = self._ids.get(identity)
        if known is not None and known.source != source:
            return Claim.DUPLICATE, known.source
        self._ids[identity] = _Known(source, False, now)
        self._ids.move_to_end(identity)
        return Claim.RUN, source

    def answered(self, identity: Identity, source: Source, *, retryable: bool, now: int) -> None:
        """`source` has its final answer. After a retryable error the id may run again under another source."""
        self._answered[source] = now
        if not retryable:
            self._ids[identity] = _Known(source, True, now)
            self._ids.move_to_end(identity)
        elif (known := self._ids.get(identity)) is not None and known.source == source:
            del self._ids[identity]

    def release(self, identity: Identity, source: Source) -> None:
        """The run ended without an answer (its partition left): another run may claim it."""
        known = self._ids.get(identity)
        if known is not None and known.source == source and not known.final:
            del self._ids[identity]

    def drop_partition(self, topic: str, partition: int) -> None:
        """The partition left: its next owner knows better than these memories."""
        self._ids = OrderedDict(
            (identity, known)
            for identity, known in self._ids.items()
            if (known.source.topic, known.source.partition) != (topic, partition)
        )
        self._answered = OrderedDict(
            (source, at)
            for source, at in self._answered.items()
            if (source.topic, source.partition) != (topic, partition)
        )

    def _forget(self, now: int) -> None:
        horizon = now - self.window
        while self._ids:
            identity, known = next(iter(self._ids.items()))
            if known.at >= horizon:
                break
            if not known.final:
                # Still running: look again after another window.
                known.at = now
                self._ids.move_to_end(identity)
                continue
            del self._ids[identity]
        while self._answered and next(iter(self._answered.values())) < horizon:
            self._answered.popitem(last=False)
