"""Records of the log as rows of `turnout.log`: pure, one plan for each type of event, made once.

A row is made from the tagged record that the codec reads, not from the event: the dataclass would cost as much as the row.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from operator import itemgetter
from typing import Any

import orjson

from schemas.events import EVENT_TYPES, Event
from schemas.shapes import to_record
from schemas.snapshots import Snapshot

Row = tuple[Any, ...]
"""One value a column, in the order of COLUMNS; instants are integer microseconds."""

COLUMNS: dict[str, Any] = {
    "topic": "", "partition": 0, "offset": 0, "logged_at": 0, "occurred_at": 0, "accepted_at": 0, "event": "",
    "version": 1, "event_id": "", "tenant": "", "request_id": "", "source_topic": "", "source_partition": 0,
    "source_offset": 0, "run": 0, "number": 0, "deployment": "", "provider": "", "model": "", "tier": "", "status": "",
    "code": "", "http_status": 0, "task": "", "strategy": "", "attempts": 0, "fallback": False, "latency_ms": 0.0,
    "queue_ms": 0.0, "first_token_ms": 0.0, "tokens_in": 0, "tokens_out": 0, "tokens_cached": 0, "tokens_reasoning": 0,
    "cost_id": "", "nano_usd": 0, "kind": "", "subject": "", "payload": "",
}  # fmt: skip
"""Column -> what stands there when an event has no such field."""

INDEX = {name: place for place, name in enumerate(COLUMNS)}
PLACED = ("topic", "partition", "offset", "logged_at")
RENAMED: dict[str, dict[str, str]] = {
    "RequestCompleted": {"latency_ms": "total_ms"},
    "AttemptFailed": {"code": "failure"},
    "AttemptAbandoned": {"code": "reason"},
    "ProbeFailed": {"code": "failure"},
    "CostIncurred": {"status": "certainty", "code": "price_version"},
    "BudgetSet": {"subject": "scope"},
    "StrategySet": {"subject": "tenant"},
    "WeightsSet": {"subject": "tenant"},
    "CircuitForced": {"subject": "deployment"},
    "CredentialReleased": {"subject": "deployment"},
    "DeploymentSwitched": {"subject": "deployment"},
}
"""Event -> column -> the field it is filled from, where the names differ. `code` says why, `status` how."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of llm.dead-letters. `at`: broker time of that record in microseconds."""

    reason: str
    source_topic: str
    source_partition: int
    source_offset: int
    length: int
    sha256: str
    at: int
    request_id: str = ""

    @classmethod
    def parse(cls, value: bytes, at: int) -> "DeadLetter":
        """From the JSON on the topic. Raises ValueError when it is no dead letter."""
        try:
            found = orjson.loads(value)
            source = found["source"]
            return cls(
                str(found["reason"]), str(source["topic"]), int(source["partition"]), int(source["offset"]),
                int(found["length"]), str(found["hash"]), at, str(found.get("request_id") or ""),
            )  # fmt: skip
        except (KeyError, TypeError, orjson.JSONDecodeError):
            raise ValueError("the record is no dead letter: it needs reason, source, length and hash") from None


@dataclass(frozen=True, slots=True)
class IngestError:
    """A record of an event topic that could not be read: never its bytes, which stand in the topic."""

    reason: str
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A key of llm.state whose record was removed."""

    fold_version: int
    kind: str
    subject: str
    topic: str
    partition: int

    @classmethod
    def parse(cls, key: str) -> "Tombstone":
        """The inverse of `Snapshot.key`. Raises ValueError when the text is no such key."""
        version, kind, rest = key.split(":", 2)
        subject, place = rest.rsplit(":", 1)
        topic, partition = place.rsplit("-", 1)
        return cls(int(version), kind, subject, topic, int(partition))


Record = dict[str, Any]
"""A tagged record in its newest version, as `Codec.newest` gives it; a row takes it over."""
Recorded = Record | Event | Snapshot | Tombstone | DeadLetter | IngestError


def row_of(topic_kind: str, topic: str, partition: int, offset: int, logged_at_us: int, event: Recorded) -> Row:
    """A record as its row. `topic_kind`: the topic's name without its prefix, such as `attempts`."""
    row = list(BLANK)
    row[0], row[1], row[2], row[3] = topic, partition, offset, logged_at_us
    if isinstance(event, Event | Snapshot):
        event = {"event": type(event).__name__, "version": getattr(event, "VERSION", 1), **to_record(event)}
    if isinstance(event, dict):
        if event["event"] == "Snapshot":
            _fill_snapshot(row, event, logged_at_us)
        else:
            _fill_event(row, event, logged_at_us)
    elif isinstance(event, Tombstone):
        state = event.fold_version, event.kind, event.subject, event.topic, event.partition
        _fill_state(row, "Tombstone", state, logged_at_us)
    else:
        _fill_trouble(row, event, logged_at_us)
    row[_KIND] = row[_KIND] or topic_kind
    return tuple(row)


BLANK = tuple(COLUMNS.values())
_ACCEPTED, _PAYLOAD, _STATUS, _KIND, _EVENT, _VERSION = (
    INDEX[name] for name in ("accepted_at", "payload", "status", "kind", "event", "version")
)
_SOURCE = tuple(INDEX[f"source_{part}"] for part in ("topic", "partition", "offset"))


def _fill_event(row: list[Any], record: Record, logged_at: int) -> None:
    name, version = record.pop("event"), record.pop("version")
    indices, values_of = _plan(name)
    for index, value in zip(indices, values_of(record), strict=True):
        row[index] = value
    # Of a request: what feedback calls its source are the words of its giver.
    if isinstance(source := record.get("source"), dict):
        row[_SOURCE[0]], row[_SOURCE[1]], row[_SOURCE[2]] = source["topic"], source["partition"], source["offset"]
        # A record read again by a new owner is its own first source; only another record was published twice.
        if name == "RequestDeduplicated" and record["first_source"] != source:
            row[_STATUS] = "deduplicated"
    row[_EVENT], row[_VERSION] = name, version
    row[_ACCEPTED] = row[_ACCEPTED] or logged_at
    row[_PAYLOAD] = orjson.dumps(record, default=_bytes_text).decode()


def _fill_snapshot(row: list[Any], record: Record, logged_at: int) -> None:
    _fill_state(row, "Snapshot", _STATE(record), logged_at)
    row[INDEX["source_offset"]], row[INDEX["run"]] = record["offset"], record["epoch"]
    row[_PAYLOAD] = record["value"].decode()


_STATE = itemgetter("fold_version", "kind", "subject", "topic", "partition")


def _fill_state(row: list[Any], name: str, state: tuple[int, str, str, str, int], logged_at: int) -> None:
    row[_EVENT] = name
    row[_VERSION], row[_KIND], row[INDEX["subject"]], row[_SOURCE[0]], row[_SOURCE[1]] = state
    row[INDEX["occurred_at"]] = row[_ACCEPTED] = logged_at


def _fill_trouble(row: list[Any], trouble: DeadLetter | IngestError, logged_at: int) -> None:
    row[_EVENT] = type(trouble).__name__
    row[INDEX["occurred_at"]] = row[_ACCEPTED] = logged_at
    if isinstance(trouble, DeadLetter):
        row[INDEX["request_id"]], row[INDEX["source_topic"]] = trouble.request_id, trouble.source_topic
        row[INDEX["source_partition"]], row[INDEX["source_offset"]] = trouble.source_partition, trouble.source_offset
    row[_PAYLOAD] = orjson.dumps(trouble).decode()


def filled(name: str) -> dict[str, str]:
    """Column -> the field of the event that it is filled from. `source` is left to the caller."""
    known = {field.name for field in fields(EVENT_TYPES[name])}
    # The clock's own bookkeeping has a topic and a partition too: those name what it is about, not where it stands.
    same = {column: column for column in COLUMNS if column in known and column not in PLACED}
    return same | RENAMED.get(name, {})


@cache
def _plan(name: str) -> tuple[tuple[int, ...], Callable[[Mapping[str, Any]], tuple[Any, ...]]]:
    """Where the fields of an event go, and one call that reads them all."""
    wanted = filled(name)
    return tuple(INDEX[column] for column in wanted), itemgetter(*wanted.values())


def _bytes_text(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(type(value).__name__)
