"""A whole history made by hand: one request tried twice and answered, and what SQL, the bill and llm.state say of it."""

from collections import defaultdict
from dataclasses import fields, replace
from typing import Any

from infra.chaos.check_money import charges
from infra.chaos.history import Answer, Call, History, Price, Request, Sql, SqlRequest, Written, attempt_id
from projections.fold import LogRecord
from projections.partition import FOLDS, PartitionProjection
from schemas.events import (
    AssignmentStarted,
    AttemptFailed,
    AttemptStarted,
    AttemptSucceeded,
    CostIncurred,
    CostReserved,
    Event,
    RequestCompleted,
)
from schemas.ids import Source
from streams.control import ControlLog

SECOND = 1_000_000
START = 1_790_000_000 * SECOND
SOURCE = Source("llm.requests", 0, 7)
PRICES = {"a": Price(250_000_000, 25_000_000, 2_000_000_000), "b": Price(0, 0, 0)}
ENDED_AT = START + 120 * SECOND
EMPTY: dict[Any, Any] = {str: "", int: 0, float: 0.0, bool: False, bytes: b"", Source: SOURCE}
TOPICS = {
    AttemptStarted: "attempts", AttemptFailed: "attempts", AttemptSucceeded: "attempts", CostReserved: "costs",
    CostIncurred: "costs",
}  # fmt: skip


def event(kind: type[Event], **given: Any) -> Event:
    """An event whose other fields are empty."""
    own = {field.name: EMPTY.get(field.type, ()) for field in fields(kind)}
    own |= {"request_id": "r-1", "tenant": "acme", "run": 0} if "request_id" in own else {}
    if "cost_id" in own:
        own["cost_id"] = attempt_id(given.get("source", SOURCE), given.get("run", 0), given["number"])
    if "deadline_at" in own:
        own["deadline_at"] = START + 30 * SECOND
    kept = own | given
    kept.setdefault("event_id", "")
    kept["event_id"] = (
        kept["event_id"] or f"{kind.__name__}/{kept.get('run')}/{kept.get('number', '')}/{kept.get('source')}"
    )
    return kind(**kept)


def cost_of(tokens_in: int, tokens_out: int) -> int:
    return PRICES["a"].of(tokens_in, 0, tokens_out)


def marker(worker: str = "w1", member: str = "") -> Event:
    return event(
        AssignmentStarted, worker=worker, role="router", topic="llm.requests", event_id=f"marker/{worker}/{member}",
        member=member,
    )  # fmt: skip


def attempt(number: int, *, run: int = 0, fails: bool = False, source: Source = SOURCE) -> list[Event]:
    """An attempt on `a` from its start to its charge: 100 tokens in, 40 out, or a failure that is not billed."""
    at: dict[str, Any] = {"number": number, "deployment": "a", "run": run, "source": source}
    tokens = {"tokens_in": 0 if fails else 100, "tokens_out": 0 if fails else 40}
    outcome = event(AttemptFailed, **at) if fails else event(AttemptSucceeded, **at, **tokens)
    charge = event(CostIncurred, **at, **tokens, certainty="certain", nano_usd=0 if fails else cost_of(100, 40))
    return [event(AttemptStarted, **at), event(CostReserved, **at, nano_usd=99_000), outcome, charge]


def call(number: int, *, run: int = 0, fails: bool = False, source: Source = SOURCE) -> Call:
    name = attempt_id(source, run, number)
    return Call(name, "a", 500, 0, 0, 0) if fails else Call(name, "a", 200, 100, 40, 0)


def completed(**given: Any) -> Event:
    return event(RequestCompleted, **{"status": "ok", "deployment": "a", "attempts": 2} | given)


def answer(offset: int = 3, **given: Any) -> Answer:
    return replace(Answer(f"llm.responses-0-{offset}", SOURCE, "r-1", "acme", "ok", False), **given)


def placed(events: list[Event]) -> tuple[LogRecord, ...]:
    """Events on partition 0 of their topics, a millisecond apart."""
    ends: dict[str, int] = defaultdict(int)
    records = []
    for number, one in enumerate(events):
        topic = f"llm.{TOPICS.get(type(one), 'decisions')}"
        records.append(LogRecord(topic, 0, ends[topic], START + number * 1_000, one))
        ends[topic] += 1
    return tuple(records)


def state_of(records: tuple[LogRecord, ...]) -> tuple[Written, ...]:
    """Every snapshot of one flush at the end, the cursors last."""
    written: list[Written] = []
    for kind, folds in FOLDS.items():
        projection = PartitionProjection(f"llm.{kind}", 0, folds, ControlLog().upto)
        log = [record for record in records if record.topic == f"llm.{kind}"]
        for record in log:
            projection.apply(record)
        if log:
            written += [Written(s.key, 0, len(written) + n, s) for n, s in enumerate(projection.flush(0))]
    return tuple(written)


def sql_of(records: tuple[LogRecord, ...]) -> Sql:
    """SQL that holds these events."""
    standing = charges(History(events=records))
    spent: dict[str, int] = defaultdict(int)
    for one in standing.values():
        spent[str(one.source)] += one.nano_usd
    requests: dict[str, SqlRequest] = {}
    for record in records:
        one_event = record.event
        if isinstance(one_event, RequestCompleted):
            source = str(one_event.source)
            row = SqlRequest(one_event.status, one_event.code, one_event.deployment, spent[source])
            requests.setdefault(source, row)
    return Sql(
        {(r.topic, r.partition, r.offset): (type(r.event).__name__, r.event.event_id) for r in records}, requests,
        {name: charge.nano_usd for name, charge in standing.items()},
    )  # fmt: skip


def history(events: list[Event] | None = None, **given: Any) -> History:
    """What holds, from these events (the healthy ones by default); SQL and state follow from them unless given."""
    if events is None:
        events = healthy()
    records = placed(events)
    whole: dict[str, Any] = {
        "requests": (Request(SOURCE, "r-1", "acme"),), "published": (SOURCE,), "answers": (answer(),),
        "events": records, "state": state_of(records), "calls": (call(1, fails=True), call(2)), "prices": PRICES,
        "sql": sql_of(records), "ended_at": ENDED_AT,
    }  # fmt: skip
    return History(**whole | given)


def healthy() -> list[Event]:
    """A marker, a failed attempt, one that succeeds, and the completion."""
    return [marker(), *attempt(1, fails=True), *attempt(2), completed()]
