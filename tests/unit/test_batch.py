"""When a batch is written: by its size, its age and by what waits for it."""

from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from streams.batch import (
    BACKLOG_ROWS,
    FULL_BYTES,
    FULL_ROWS,
    LARGE_BYTES,
    LARGE_ROWS,
    QUIET_FLUSH_S,
    QUIET_ROWS,
    Batch,
    parted,
)

KINDS = {"llm.decisions": "decisions", "llm.state": "state"}


def found(topic: str, *offsets: int, partition: int = 0) -> dict[TopicPartition, list[Any]]:
    return {TopicPartition(topic, partition): [SimpleNamespace(offset=offset) for offset in offsets]}


def holding(rows: int, size: int = 0, topic: str = "llm.decisions", since: float = 0.0) -> Batch:
    batch = Batch(since=since)
    batch.add(found(topic, *range(rows)), [bytes(size)] + [b""] * (rows - 1), KINDS)
    return batch


def test_it_says_which_offsets_it_spans() -> None:
    batch = Batch()
    batch.add(found("llm.decisions", 4, 5) | found("llm.decisions", 9, partition=1), [b"", b"", b""], KINDS)
    batch.add(found("llm.decisions", 6, 8), [b"", b""], KINDS)
    assert batch.ranges == {("llm.decisions", 0): (4, 8), ("llm.decisions", 1): (9, 9)}
    assert batch.rows == sum(map(len, batch.records.values())) == sum(map(len, batch.blocks.values())) == 5


def test_a_backlog_is_cut_between_partitions_nearest_to_its_middle() -> None:
    rows = BACKLOG_ROWS // 2
    ranges = {("llm.decisions", 1): (5, 4 + rows), ("llm.costs", 0): (0, rows), ("llm.decisions", 0): (7, 8)}
    assert parted(ranges) == [[("llm.costs", 0)], [("llm.decisions", 0), ("llm.decisions", 1)]]
    assert parted(dict(reversed(ranges.items()))) == parted(ranges)
    assert parted({place: (first, first) for place, (first, _) in ranges.items()}) == [sorted(ranges)]
    assert parted({("llm.costs", 0): (0, BACKLOG_ROWS)}) == [[("llm.costs", 0)]]


def test_rows_or_bytes_make_it_large_and_full() -> None:
    assert not holding(LARGE_ROWS - 1).large and holding(LARGE_ROWS).large and holding(1, LARGE_BYTES).large
    assert not holding(FULL_ROWS - 1).full and holding(FULL_ROWS).full and holding(1, FULL_BYTES).full


def test_a_small_one_is_written_once_it_is_old_and_a_quiet_one_later() -> None:
    assert not Batch(since=0.0).due(1.0, 100.0)
    assert holding(1, since=99.0).due(1.0, 100.0) and not holding(1, since=99.5).due(1.0, 100.0)
    quiet = holding(1, topic="llm.state", since=99.0)
    assert quiet.quiet and not quiet.due(1.0, 100.0)
    assert holding(1, topic="llm.state", since=100.0 - QUIET_FLUSH_S).due(1.0, 100.0)
    # The rest of a backlog may be of any topic.
    assert holding(QUIET_ROWS, topic="llm.state", since=99.0).due(1.0, 100.0)
    quiet.add(found("llm.decisions", 0), [b""], KINDS)
    assert quiet.due(1.0, 100.0)
