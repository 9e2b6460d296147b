"""An event partition in the hands of a projector, and the records that come from it."""

from dataclasses import dataclass, field
from typing import Protocol

from faust.types import TP, Message

from projections.partition import PartitionProjection
from schemas.events import Event


class Delivered(Protocol):
    """A record of a partition of ours; `ack` says that it is folded."""

    @property
    def message(self) -> Message: ...
    def ack(self) -> object: ...


@dataclass
class Owned:
    """One partition of ours. `derived`: events not yet published. `paused`: why it stands still, else empty.

    `letters`: dead letters not yet published, as key and value; a record read again after a crash has its letter twice.
    `judged`: ids of judgements not yet read back: judging again before would repeat them under new ids.
    `told`: up to this offset a former owner has published what is derived, whatever the version of its folds.
    """

    tp: TP
    kind: str
    epoch: int
    projection: PartitionProjection
    derived: list[Event] = field(default_factory=list)
    letters: list[tuple[bytes | None, bytes]] = field(default_factory=list)
    flushed: int = -1
    paused: str = ""
    judged: set[str] = field(default_factory=set)
    told: int = -1

    @property
    def pressing(self) -> bool:
        """Whether something waits that others must learn at once."""
        return bool(self.derived or self.letters or self.flushed < 0)

    @property
    def caught_up(self) -> bool:
        """Our own marker is folded. Before it, a cursor of ours could skip what the former owner wrote last."""
        return bool(self.projection.covered >= self.epoch)
