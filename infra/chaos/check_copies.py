"""SQL and llm.state are copies of the log: equal to it, event by event and fold by fold."""

from collections import defaultdict
from collections.abc import Iterator

from infra.chaos.check_money import charges
from infra.chaos.history import Breach, History, Written
from projections.fold import LogRecord
from projections.partition import FOLDS, PartitionProjection
from schemas.events import RequestCompleted
from schemas.snapshots import Snapshot, encode_value
from streams.control import ControlLog

ADVANCED_US = 20_000_000
"""Ticks come every 5 s and snapshots every half second: a cursor four ticks behind the log stands still."""


def sql_holds_events(history: History) -> Iterator[Breach]:
    """Each event of the topics is one row of `events`, and each row is an event of the topics."""
    found = dict(history.sql.events)
    for record in history.events:
        row = found.pop((record.topic, record.partition, record.offset), None)
        wanted = type(record.event).__name__, record.event.event_id
        if row != wanted:
            says = f"is {wanted[0]} {wanted[1]} in its topic and {' '.join(row) if row else 'missing'} in SQL"
            yield Breach("sql_holds_events", record.position, says)
    for (topic, partition, offset), (event, event_id) in found.items():
        says = f"is {event} {event_id} in SQL and does not stand in its topic"
        yield Breach("sql_holds_events", f"{topic}-{partition}-{offset}", says)


def sql_holds_requests(history: History) -> Iterator[Breach]:
    """A completed request has the outcome of its first run in `requests`, and its charges in `costs`."""
    first: dict[str, tuple[tuple[int, int], RequestCompleted]] = {}
    for record, event in history.of(RequestCompleted):
        order = event.run, record.logged_at
        known = first.get(str(event.source))
        if known is None or order < known[0]:
            first[str(event.source)] = order, event
    spent: dict[str, int] = defaultdict(int)
    standing = charges(history)
    for charge in standing.values():
        spent[str(charge.source)] += charge.nano_usd
    for source, (_, event) in first.items():
        row = history.sql.requests.get(source)
        shown = (row.status, row.code, row.deployment, row.nano_usd) if row else None
        wanted = event.status, event.code, event.deployment, spent[source]
        if shown != wanted:
            yield Breach("sql_holds_requests", event.request_id, f"{source} is {wanted} in its topics, {shown} in SQL")
    for name in standing.keys() | history.sql.costs.keys():
        known_cost = standing[name].nano_usd if name in standing else None
        if history.sql.costs.get(name) != known_cost:
            says = f"costs {known_cost} nano-USD in its topic and {history.sql.costs.get(name)} in SQL"
            yield Breach("sql_holds_requests", name, says)


def sql_has_no_drift(history: History) -> Iterator[Breach]:
    """The view `drift` is empty."""
    for row in history.sql.drift:
        yield Breach("sql_has_no_drift", row, "stands in drift")


def replay_equals_state(history: History) -> Iterator[Breach]:
    """Every published snapshot is what a fresh fold says at its offset."""
    for sentence in history.replayed:
        yield Breach("replay_equals_state", sentence.split(" ", 1)[0], sentence)


def state_is_current(history: History) -> Iterator[Breach]:
    """The last record of each key of llm.state, which compaction keeps, is the fold of the log up to the cursor.

    And the cursor of each partition has come near the end of its log.
    """
    last: dict[tuple[str, int], dict[str, Written]] = defaultdict(dict)
    for written in history.state:
        snapshot = written.snapshot
        if snapshot is not None and snapshot.topic:
            last[snapshot.topic, snapshot.partition][written.key] = written
        elif snapshot is None:
            for keys in last.values():
                keys.pop(written.key, None)
    control = ControlLog()
    logs: dict[tuple[str, int], list[LogRecord]] = defaultdict(list)
    for record in history.events:
        logs[record.topic, record.partition].append(record)
        if history.kind(record.topic) == "control":
            control.put(record.offset, record.event)
    for (topic, partition), log in logs.items():
        if (kind := history.kind(topic)) in FOLDS:
            yield from _current(history, kind, log, control, last.get((topic, partition), {}))


def _current(
    history: History, kind: str, log: list[LogRecord], control: ControlLog, last: dict[str, Written]
) -> Iterator[Breach]:
    topic, partition = log[0].topic, log[0].partition
    name = f"{topic}-{partition}"
    projection = PartitionProjection(topic, partition, FOLDS[kind], control.upto)
    cursors = [written.snapshot for written in last.values() if written.snapshot and written.snapshot.kind == "cursor"]
    covered = max((cursor.offset for cursor in cursors), default=-1)
    behind = [r for r in log if r.offset > covered and r.logged_at < history.ended_at - ADVANCED_US]
    if behind:
        says = f"its cursor stands at {covered} and does not advance, {len(behind)} records behind"
        yield Breach("state_is_current", name, says, (behind[0].position,))
    for record in log:
        if record.offset <= covered:
            projection.apply(record)
    for fold in FOLDS[kind]:
        for subject in projection.subjects(fold.kind):
            key = f"{fold.version}:{fold.kind}:{subject}:{name}"
            value = encode_value(projection.snapshot(fold.kind, subject))
            written = last.get(key)
            snapshot: Snapshot | None = written.snapshot if written else None
            # A flush that was under way when we read: its cursor was not there yet.
            if snapshot is not None and snapshot.offset > covered:
                continue
            if snapshot is None or snapshot.value != value:
                found = f"{snapshot.value.decode()} of offset {snapshot.offset}" if snapshot else "nothing"
                says = f"the log up to {covered} says {value.decode()} and the last record of the key {found}"
                places = (f"{history.prefix}state-{written.partition}-{written.offset}",) if written else ()
                yield Breach("state_is_current", key, says, places)
