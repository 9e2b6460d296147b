"""Writes batches exactly once from an at-least-once reader: intent, rows under one token, done."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clickhouse_connect.driver.client import Client

from projections.clickhouse.rows import COLUMNS, Row

Ranges = Mapping[tuple[str, int], tuple[int, int]]
"""(topic, partition) -> (first, last) offset of a batch, both inclusive."""

ONCE = {"async_insert": 0, "insert_deduplicate": 1, "deduplicate_blocks_in_dependent_materialized_views": 1}
ROLLUPS = ("tenant_hour", "provider_minute")
INTENT = ["sink", "number", "epoch", "token", "topics", "partitions", "firsts", "lasts", "done"]


@dataclass(frozen=True, slots=True)
class Intent:
    """What was about to be written. After a restart the caller reads exactly these ranges again and writes them."""

    number: int
    epoch: int
    token: str
    ranges: dict[tuple[str, int], tuple[int, int]]
    done: bool


class Writer:
    """The one writer of a sink id; not for two threads at once.

    `alert` is a sentence when parts were lost: read Kafka from its start (`positions` is empty), then call `repair`.
    """

    def __init__(self, client: Client, sink_id: str) -> None:
        self._client = client
        self._sink = sink_id
        self.epoch, self.alert = self._check()
        self._last = self.last_intent()

    def write(self, ranges: Ranges, rows: Sequence[Row]) -> None:
        """Write a batch. The same ranges again, with the same rows, change nothing."""
        last = self._last
        if last is not None and last.epoch == self.epoch and last.ranges == dict(ranges):
            number = last.number
        else:
            number = last.number + 1 if last else 1
        intent = Intent(number, self.epoch, token_of(self._sink, self.epoch, ranges), dict(ranges), done=False)
        self._journal(intent)
        self._last = intent
        if rows:
            self._client.insert(
                "turnout.log", list(zip(*rows, strict=True)), column_names=list(COLUMNS), column_oriented=True,
                settings={**ONCE, "insert_deduplication_token": intent.token},
            )  # fmt: skip
        self._last = Intent(number, self.epoch, intent.token, intent.ranges, done=True)
        self._journal(self._last)

    def last_intent(self) -> Intent | None:
        """The newest intent of this epoch, done or not: write it once more before anything else."""
        found = self._rows(
            "SELECT number, epoch, token, topics, partitions, firsts, lasts, done FROM turnout.intents FINAL"
            " WHERE sink = {sink:String} AND epoch = {epoch:UInt32} ORDER BY number DESC LIMIT 1",
            epoch=self.epoch,
        )
        for number, epoch, token, topics, partitions, firsts, lasts, done in found:
            ranges = dict(zip(zip(topics, partitions, strict=True), zip(firsts, lasts, strict=True), strict=True))
            return Intent(number, epoch, token, ranges, bool(done))
        return None

    def positions(self) -> dict[tuple[str, int], int]:
        """The next offset of each (topic, partition) that was written in this epoch."""
        found = self._rows(
            "SELECT topic, partition, max(next_offset) FROM turnout.positions"
            " WHERE sink = {sink:String} AND epoch = {epoch:UInt32} GROUP BY topic, partition",
            epoch=self.epoch,
        )
        return {(topic, partition): offset for topic, partition, offset in found}

    def repair(self) -> None:
        """Rebuild the rollups from the raw log and end the alert. Nothing else may write meanwhile."""
        for rollup in ROLLUPS:
            ((select,),) = self._rows(
                "SELECT as_select FROM system.tables WHERE database = 'turnout' AND name = {name:String}",
                name=f"to_{rollup}",
            )
            # Not TRUNCATE: it forgets the tokens too, and the last intent written once more would be counted twice.
            self._client.command(f"ALTER TABLE turnout.{rollup} DELETE WHERE true SETTINGS mutations_sync = 2")
            # Without a token and without deduplication: a second repair must not be mistaken for a retry of the first.
            self._client.command(
                f"INSERT INTO turnout.{rollup} {str(select).replace('turnout.log AS l', 'turnout.log AS l FINAL')}"
                " SETTINGS insert_deduplicate = 0"
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
        topics, partitions = zip(*intent.ranges, strict=True) if intent.ranges else ((), ())
        firsts, lasts = zip(*intent.ranges.values(), strict=True) if intent.ranges else ((), ())
        row = [
            self._sink, intent.number, intent.epoch, intent.token, list(topics), list(partitions), list(firsts),
            list(lasts), int(intent.done),
        ]  # fmt: skip
        self._client.insert("turnout.intents", [row], column_names=INTENT, settings={"async_insert": 0})

    def _rows(self, sql: str, **parameters: object) -> Sequence[Sequence[Any]]:
        rows: Sequence[Sequence[Any]] = self._client.query(
            sql, parameters={"sink": self._sink, **parameters}
        ).result_rows
        return rows


def token_of(sink: str, epoch: int, ranges: Ranges) -> str:
    """The same batch has the same token, whoever computes it and in whatever order its ranges stand."""
    return f"{sink}:{epoch}:{hashlib.sha256(_text(ranges.items()).encode()).hexdigest()}"


def _text(ranges: Iterable[tuple[tuple[str, int], tuple[int, int]]]) -> str:
    return ";".join(f"{topic}:{partition}:{first}-{last}" for (topic, partition), (first, last) in sorted(ranges))
