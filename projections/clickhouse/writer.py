"""Writes batches exactly once from an at-least-once reader: intent, rows under one token, done."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from clickhouse_connect.driver.client import Client

from projections.clickhouse.arrivals import SETTINGS, arrivals
from projections.clickhouse.container import Block, container

Ranges = Mapping[tuple[str, int], tuple[int, int]]
"""(topic, partition) -> (first, last) offset of a batch, both inclusive."""

ONCE = {"async_insert": 0, "insert_deduplicate": 1, "deduplicate_blocks_in_dependent_materialized_views": 1}
ROLLUPS = {"tenant_hour": "hour", "provider_minute": "minute"}
"""Additive table -> the column that says when."""
ENTRY = """
INSERT INTO turnout.journal (sink, epoch, number, done, topics, partitions, firsts, nexts)
VALUES ({sink:String}, {epoch:UInt32}, {number:UInt64}, {done:UInt8}, {topics:Array(String)}, {partitions:Array(UInt32)},
    {firsts:Array(Int64)}, {nexts:Array(Int64)})
"""


@dataclass(frozen=True, slots=True)
class Intent:
    """What was about to be written. After a restart the caller reads exactly these ranges again and writes them."""

    number: int
    epoch: int
    ranges: dict[tuple[str, int], tuple[int, int]]
    done: bool


class Superseded(Exception):
    """Another writer of the same sink id has written since."""


class Writer:
    """The one writer of a sink id; not for two threads at once. Call `finish` when it ends in order.

    `beside`: a second client, for a second thread; without it what could be written at once is written in turn.
    `alert` is a sentence when parts were lost: read Kafka from its start (`positions` is empty), then call `repair`.
    """

    def __init__(self, client: Client, sink_id: str, beside: Client | None = None) -> None:
        self._client = client
        self._beside = beside
        self._sink = sink_id
        self.epoch, self.alert = self._check()
        self._last, self._positions = self._read()
        self._wrote = False

    def write(self, ranges: Ranges, blocks: Sequence[Block], second: Sequence[Block] | None = None) -> None:
        """Write a batch, in one part or two at once. The same ranges again, with the same records in each part, change nothing.

        Raises Superseded where the journal went on without this writer: it stood still while another took its place.
        """
        last = self._last
        if (newest := self._newest()) > (self.epoch, last.number if last else 0):
            raise Superseded(f"batch {newest[1]} of epoch {newest[0]} was written by another sink")
        again = last is not None and last.epoch == self.epoch and last.ranges == dict(ranges)
        number = (last.number + (not again)) if last else 1
        self._last, self._wrote = Intent(number, self.epoch, dict(ranges), done=False), False
        self._positions |= {place: end + 1 for place, (_, end) in ranges.items()}
        self._journal(self._last)
        token = token_of(self._sink, self.epoch, ranges)
        if second is None:
            _insert(self._client, token, blocks)
        elif self._beside is None:
            _insert(self._client, f"{token}/1", blocks)
            _insert(self._client, f"{token}/2", second)
        else:
            with ThreadPoolExecutor(1) as pool:
                done = pool.submit(_insert, self._beside, f"{token}/2", second)
                _insert(self._client, f"{token}/1", blocks)
                done.result()
        self._wrote = True

    def finish(self) -> None:
        """Say that the last batch was written, so that the next sink need not read it again.

        Says nothing of a batch that another began: it may have been killed before its rows, and only a replay is sure of them.
        """
        if self._wrote and self._last is not None and not self._last.done:
            self._last = replace(self._last, done=True)
            self._journal(self._last)

    def last_intent(self) -> Intent | None:
        """The newest intent of this epoch: one that is not done is written once more before anything else."""
        self._last, self._positions = self._read()
        self._wrote = False
        return self._last

    def positions(self) -> dict[tuple[str, int], int]:
        """The next offset of each (topic, partition) in this epoch, given that the last intent was written."""
        return dict(self._positions)

    def _read(self) -> tuple[Intent | None, dict[tuple[str, int], int]]:
        found = self._rows(
            "SELECT number, topics, partitions, firsts, nexts, done FROM turnout.journal"
            " WHERE sink = {sink:String} AND epoch = {epoch:UInt32} ORDER BY version DESC LIMIT 1",
            epoch=self.epoch,
        )
        for number, topics, partitions, firsts, nexts, done in found:
            spans = dict(zip(zip(topics, partitions, strict=True), zip(firsts, nexts, strict=True), strict=True))
            ranges = {place: (first, following - 1) for place, (first, following) in spans.items() if first < following}
            positions = {place: following for place, (_, following) in spans.items()}
            return Intent(number, self.epoch, ranges, bool(done)), positions
        return None, {}

    def _newest(self) -> tuple[int, int]:
        """Epoch and number of the journal's last intent."""
        found = self._rows(
            "SELECT epoch, number FROM turnout.journal WHERE sink = {sink:String} ORDER BY epoch DESC, number DESC LIMIT 1"
        )
        return (int(found[0][0]), int(found[0][1])) if found else (0, 0)

    def drifted(self) -> tuple[str, ...]:
        """The rollups that do not agree with the raw log."""
        found = {str(rollup) for (rollup,) in self._rows("SELECT DISTINCT rollup FROM turnout.drift")}
        return tuple(rollup for rollup in ROLLUPS if rollup in found)

    def repair(self, rollups: Iterable[str] = tuple(ROLLUPS)) -> None:
        """Rebuild rollups from the raw log, as far back as it is all there, and end the alert. Nothing else may write meanwhile.

        The last intent has to be written: rows of it that reached the log and not the rollups would be rebuilt here and
        added once more when it is written again, for the rollups never saw its token.
        """
        # Where `drift` begins.
        ((since,),) = self._rows("SELECT toUnixTimestamp(max(since) + toIntervalDay(1)) FROM turnout.kept")
        for rollup in rollups:
            ((select,),) = self._rows(
                "SELECT as_select FROM system.tables WHERE database = 'turnout' AND name = {name:String}",
                name=f"to_{rollup}",
            )
            # Not TRUNCATE: it forgets the tokens too, and the last intent written once more would be counted twice.
            self._client.command(
                f"ALTER TABLE turnout.{rollup} DELETE WHERE {ROLLUPS[rollup]} >= fromUnixTimestamp({since})"
                " SETTINGS mutations_sync = 2"
            )
            raw = f"(SELECT * FROM turnout.log FINAL WHERE logged_at >= fromUnixTimestamp({since})) AS l"
            # Without a token and without deduplication: a second repair must not be mistaken for a retry of the first.
            self._client.command(
                f"INSERT INTO turnout.{rollup} {str(select).replace('turnout.log AS l', raw)} SETTINGS insert_deduplicate = 0"
            )
        self._client.insert(
            "turnout.epochs", [[self._sink, self.epoch, self._broken(), 1]],
            column_names=["sink", "epoch", "broken", "repaired"],
        )  # fmt: skip
        self.alert = ""

    def _check(self) -> tuple[int, str]:
        """A part broken by a power loss is detached while its token stays: what it held would be dropped as known."""
        known = self._rows(
            "SELECT epoch, broken, repaired FROM turnout.epochs FINAL WHERE sink = {sink:String} ORDER BY epoch"
        )
        epoch, seen, repaired = (known[-1][0], set(known[-1][1]), bool(known[-1][2])) if known else (1, set(), True)
        broken = self._broken()
        if not known or set(broken) - seen:
            epoch, repaired = (epoch + 1 if known or broken else 1), not broken
            self._client.insert(
                "turnout.epochs", [[self._sink, epoch, broken, int(repaired)]],
                column_names=["sink", "epoch", "broken", "repaired"],
            )  # fmt: skip
        if repaired:
            return epoch, ""
        return epoch, (
            f"ClickHouse detached {len(broken)} broken parts ({', '.join(broken[:3])}): the log is read again"
            " from its start and the rollups are rebuilt after that; set fsync_after_insert where power may fail"
        )

    def _broken(self) -> list[str]:
        found = self._rows(
            "SELECT concat(table, '/', name) FROM system.detached_parts"
            " WHERE database = 'turnout' AND startsWith(ifNull(reason, ''), 'broken') ORDER BY 1"
        )
        return [str(name) for (name,) in found]

    def _journal(self, intent: Intent) -> None:
        places = list(self._positions)
        entry = {
            "sink": self._sink, "epoch": intent.epoch, "number": intent.number, "done": int(intent.done),
            "topics": [topic for topic, _ in places], "partitions": [partition for _, partition in places],
            "firsts": [intent.ranges.get(place, (self._positions[place],))[0] for place in places],
            "nexts": [self._positions[place] for place in places],
        }  # fmt: skip
        self._client.command(ENTRY, parameters=entry, settings={"async_insert": 0})

    def _rows(self, sql: str, **parameters: object) -> Sequence[Sequence[Any]]:
        rows: Sequence[Sequence[Any]] = self._client.query(
            sql, parameters={"sink": self._sink, **parameters}
        ).result_rows
        return rows


def _insert(client: Client, token: str, blocks: Sequence[Block]) -> None:
    """Make rows of blocks in the log and in all that is fed by it. Nothing where they came under this token before."""
    if not blocks:
        return
    settings = ONCE | SETTINGS | {
        # Larger than any batch: one that is split is known again only if it is split at the same places.
        "min_insert_block_size_rows": 10**9, "min_insert_block_size_bytes": 0,
        # What a batch holds twice is merged with what the next ones hold: before the insert it costs a sixth of it.
        "optimize_on_insert": 0,
        "insert_deduplication_token": token,
    }  # fmt: skip
    client.raw_insert(arrivals()[0], insert_block=container(blocks), fmt="Avro", settings=settings)


def token_of(sink: str, epoch: int, ranges: Ranges) -> str:
    """The same batch has the same token, whoever computes it and in whatever order its ranges stand."""
    return f"{sink}:{epoch}:{hashlib.sha256(_text(ranges.items()).encode()).hexdigest()}"


def _text(ranges: Iterable[tuple[tuple[str, int], tuple[int, int]]]) -> str:
    return ";".join(f"{topic}:{partition}:{first}-{last}" for (topic, partition), (first, last) in sorted(ranges))
