"""The coordinator of a consumer group in virtual time: joins, heartbeats, commits, and who is silent for too long."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulation.virtual import resolve

if TYPE_CHECKING:
    from simulation.broker import Broker


class MemberGone(Exception):
    """The coordinator does not know the member, or not in this generation."""


@dataclass
class Member:
    seen_at: float
    joining: asyncio.Future[int] | None = None


@dataclass
class Group:
    """The coordinator's side of one consumer group, eager protocol."""

    broker: Broker
    name: str
    topics: tuple[str, ...]
    session_s: float
    rebalance_s: float
    members: dict[str, Member] = field(default_factory=dict)
    generation: int = 0
    committed: dict[tuple[str, int], int] = field(default_factory=dict)
    assignment: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    deadline: float | None = None
    loaded_at: float = 0.0

    @property
    def away_until(self) -> float:
        return max(self.broker.paused_until, self.loaded_at)

    def restart(self, seconds: float) -> None:
        """The coordinator is started again and has loaded its groups after so long.

        It knows of the last whole generation: its members come back, each with a new session, and whoever was about to join
        joins again.
        """
        loop = self.broker.loop
        self.loaded_at = loop.time() + seconds
        joining = {name: member.joining for name, member in self.members.items() if member.joining is not None}
        self.members = {name: Member(self.loaded_at) for name in self.assignment}
        self.deadline = None
        for name, member in self.members.items():
            self._expire(name, member)
        for name, joined in joining.items():
            loop.later(seconds, self.join, name, joined)

    def reset(self) -> None:
        """The group was empty for so long that the broker forgot it; only its offsets were kept by luck."""
        self.members.clear()
        self.assignment.clear()
        self.generation, self.deadline = 0, None

    def _expire(self, name: str, member: Member) -> None:
        """Drop a member that went silent. One timer a member: it is set anew from when it was last seen."""
        loop = self.broker.loop
        if self.members.get(name) is not member:
            return
        silent = loop.time() - member.seen_at
        if member.joining is not None or silent < self.session_s or loop.time() < self.away_until:
            loop.later(max(0.2, self.session_s - silent), self._expire, name, member)
            return
        del self.members[name]
        self.prepare()

    def prepare(self) -> None:
        """Begin a rebalance: it ends when every member joined again, or without the silent ones at its deadline."""
        loop = self.broker.loop
        if self.deadline is None:
            self.deadline = loop.time() + self.rebalance_s
            loop.later(self.rebalance_s, self._complete)
        loop.later(0.05, self._complete)

    def join(self, member: str, joined: asyncio.Future[int]) -> None:
        if (wait := self.loaded_at - self.broker.loop.time()) > 0:
            self.broker.loop.later(wait, self.join, member, joined)
            return
        known = self.members.get(member)
        if known is None:
            known = self.members[member] = Member(self.broker.loop.time(), joined)
            self._expire(member, known)
        known.seen_at, known.joining = self.broker.loop.time(), joined
        self.prepare()

    def _complete(self) -> None:
        now = self.broker.loop.time()
        if self.deadline is None:
            return
        if now < self.away_until:
            self.broker.loop.later(self.away_until - now, self._complete)
            return
        waiting = [name for name, member in self.members.items() if member.joining is None]
        if waiting and now < self.deadline:
            return
        for name in waiting:
            del self.members[name]
        if not self.members:
            self.deadline = None
            self.assignment = {}
            return
        self.deadline = None
        self.generation += 1
        names = list(self.members)
        self.broker.rng.shuffle(names)
        places = [(topic, number) for topic in self.topics for number in range(self.broker.partitions)]
        self.assignment = {name: places[index :: len(names)] for index, name in enumerate(names)}
        for member in self.members.values():
            member.seen_at = now
            joined, member.joining = member.joining, None
            assert joined is not None
            self.broker.loop.later(self.broker.network.delay(), resolve, joined, self.generation)

    def heartbeat(self, member: str, generation: int) -> str:
        if self.broker.loop.time() < self.loaded_at:
            # As Kafka: whoever asks, and whatever became of it.
            return "ok"
        known = self.members.get(member)
        if known is None or generation != self.generation:
            return "gone"
        known.seen_at = self.broker.loop.time()
        return "rebalancing" if self.deadline is not None else "ok"

    def commit(self, member: str, generation: int, offsets: dict[tuple[str, int], int]) -> None:
        loading = self.broker.loop.time() < self.loaded_at
        if loading or self.members.get(member) is None or generation != self.generation:
            raise MemberGone
        self.committed.update(offsets)

    def leave(self, member: str) -> None:
        if self.members.pop(member, None) is not None:
            self.prepare()
