"""What a sink read and has not yet written, and when it is time to."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from aiokafka import ConsumerRecord, TopicPartition

from projections.clickhouse.container import Block

Place = tuple[str, int]
"""Topic and partition."""
Range = tuple[int, int]
# An insert costs about what 5,000 of its rows cost: a sink that keeps up and wrote as many at a time would pay it double.
LARGE_ROWS, LARGE_BYTES = 20_000, 8 * 2**20
FULL_ROWS, FULL_BYTES = 100_000, 64 * 2**20
# Whoever keeps up leaves the other core to the routers, and pays for one insert.
BACKLOG_ROWS = 50_000
# Ticks and loads alone may wait, and nothing waits longer. In that time there are some hundreds of them: more is traffic.
QUIET_FLUSH_S, QUIET_ROWS = 5.0, 1_000
QUIET_KINDS = frozenset({"attempts", "costs", "transitions", "state"})


@dataclass
class Batch:
    """Records, and the blocks that they are written as, a list for each partition. `ranges`: first and last offset of each.

    `rows`: how many. `quiet`: none is of a topic that only requests have. `since`: monotonic seconds.
    """

    records: dict[Place, list[ConsumerRecord]] = field(default_factory=dict)
    blocks: dict[Place, list[Block]] = field(default_factory=dict)
    ranges: dict[Place, Range] = field(default_factory=dict)
    rows: int = 0
    size: int = 0
    quiet: bool = True
    since: float = field(default_factory=time.monotonic)

    def add(
        self, found: Mapping[TopicPartition, list[ConsumerRecord]], blocks: list[Block], kinds: Mapping[str, str]
    ) -> None:
        """`blocks`: of all that was found, in its order. `kinds`: of the topics."""
        begin = 0
        for (topic, partition), records in found.items():
            place = topic, partition
            self.quiet = self.quiet and kinds[topic] in QUIET_KINDS
            self.records.setdefault(place, []).extend(records)
            self.blocks.setdefault(place, []).extend(blocks[begin : begin + len(records)])
            first = self.ranges.get(place, (records[0].offset, 0))[0]
            self.ranges[place] = (first, records[-1].offset)
            begin += len(records)
        self.rows += len(blocks)
        self.size += sum(map(len, blocks))

    @property
    def large(self) -> bool:
        """Worth an insert."""
        return self.rows >= LARGE_ROWS or self.size >= LARGE_BYTES

    @property
    def full(self) -> bool:
        """Nothing is gained, and memory spent, by what would still come."""
        return self.rows >= FULL_ROWS or self.size >= FULL_BYTES

    def due(self, wait_s: float, now: float) -> bool:
        """Whether it is large or old enough at `now`. `wait_s`: seconds from its first record on; more where it is quiet."""
        wait_s = QUIET_FLUSH_S if self.quiet and self.rows < QUIET_ROWS else wait_s
        return self.rows > 0 and (self.large or now - self.since >= wait_s)


def parted(ranges: Mapping[Place, Range]) -> list[list[Place]]:
    """The places of a batch in order; of a backlog in two parts, to be written at once, for decoding takes one core.

    By the ranges alone: of a compacted topic records may be gone when the batch is written again, and what stands in a part
    must stand there then too.
    """
    places = sorted(ranges)
    upto = list(accumulate(ranges[place][1] - ranges[place][0] + 1 for place in places))
    if len(places) < 2 or upto[-1] < BACKLOG_ROWS:
        return [places]
    cut = min(range(1, len(places)), key=lambda count: abs(2 * upto[count - 1] - upto[-1]))
    return [places[:cut], places[cut:]]
