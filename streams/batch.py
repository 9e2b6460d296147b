"""What a sink read and has not yet written, and when it is time to."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord, TopicPartition

from projections.clickhouse.container import Block

Range = tuple[int, int]
# An insert costs about what 5,000 of its rows cost: a sink that keeps up and wrote as many at a time would pay it double.
LARGE_ROWS, LARGE_BYTES = 20_000, 8 * 2**20
FULL_ROWS, FULL_BYTES = 50_000, 64 * 2**20
# Ticks and loads alone may wait, and nothing waits longer.
QUIET_FLUSH_S = 5.0
QUIET_KINDS = frozenset({"attempts", "costs", "transitions", "state"})


@dataclass
class Batch:
    """Records, and the blocks that they are written as. `ranges`: first and last offset of each partition.

    `quiet`: none is a request's. `since`: monotonic seconds.
    """

    records: list[ConsumerRecord] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    ranges: dict[tuple[str, int], Range] = field(default_factory=dict)
    size: int = 0
    quiet: bool = True
    since: float = field(default_factory=time.monotonic)

    def add(
        self, found: Mapping[TopicPartition, list[ConsumerRecord]], blocks: list[Block], kinds: Mapping[str, str]
    ) -> None:
        """`blocks`: of all that was found, in its order. `kinds`: of the topics."""
        for (topic, partition), records in found.items():
            self.quiet = self.quiet and kinds[topic] in QUIET_KINDS
            self.records += records
            first = self.ranges.get((topic, partition), (records[0].offset, 0))[0]
            self.ranges[topic, partition] = (first, records[-1].offset)
        self.blocks += blocks
        self.size += sum(map(len, blocks))

    @property
    def large(self) -> bool:
        """Worth an insert."""
        return len(self.records) >= LARGE_ROWS or self.size >= LARGE_BYTES

    @property
    def full(self) -> bool:
        """Nothing is gained, and memory spent, by what would still come."""
        return len(self.records) >= FULL_ROWS or self.size >= FULL_BYTES

    def due(self, wait_s: float, now: float) -> bool:
        """Whether it is large or old enough at `now`. `wait_s`: seconds from its first record on; more where it is quiet."""
        wait_s = QUIET_FLUSH_S if self.quiet else wait_s
        return bool(self.records) and (self.large or now - self.since >= wait_s)
