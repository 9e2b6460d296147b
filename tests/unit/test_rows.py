"""Records as rows of the log table."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from routing_worlds import NO_INPUTS

from projections.clickhouse.rows import COLUMNS, DeadLetter, IngestError, Recorded, Tombstone, row_of
from schemas.events import AttemptFailed, ClockTicked, RequestDeduplicated, RouteDecided
from schemas.events.requests import Exclusion, PlanStep
from schemas.ids import Source
from schemas.snapshots import Snapshot

REQUEST: dict[str, Any] = {
    "event_id": "e1", "occurred_at": 5, "worker": "w", "source": Source("llm.requests", 3, 7), "run": 2,
    "request_id": "r-1", "tenant": "acme", "trace_id": "", "accepted_at": 4,
}  # fmt: skip


def named(event: Recorded, kind: str = "attempts") -> dict[str, object]:
    return dict(zip(COLUMNS, row_of(kind, f"llm.{kind}", 1, 9, 100, event), strict=True))


def test_a_failed_attempt_keeps_its_place_source_and_failure() -> None:
    event = AttemptFailed(
        **REQUEST, number=2, deployment="d", provider="openai", model="m", tier="primary", circuit_epoch=0, trial=False,
        task="code", failure="timeout", http_status=0, latency_ms=12.5, retry_after_ms=0, next_action="other",
        counts_toward_circuit=True, billed="unknown", provider_code="", provider_request_id="", jitter=0.1,
    )  # fmt: skip
    row = named(event)
    assert (row["topic"], row["partition"], row["offset"], row["logged_at"]) == ("llm.attempts", 1, 9, 100)
    assert (row["source_topic"], row["source_partition"], row["source_offset"]) == ("llm.requests", 3, 7)
    assert (row["event"], row["code"], row["latency_ms"]) == ("AttemptFailed", "timeout", 12.5)
    assert (row["run"], row["number"]) == (2, 2)
    assert orjson.loads(str(row["payload"]))["next_action"] == "other"


def test_an_event_without_a_request_sorts_by_the_brokers_time_and_keeps_its_own_place() -> None:
    row = named(ClockTicked(event_id="t", occurred_at=1, worker="w", topic="llm.costs", partition=6, control_offset=3))
    assert (row["topic"], row["partition"], row["accepted_at"], row["tenant"]) == ("llm.attempts", 1, 100, "")


def test_estimates_travel_as_base64() -> None:
    event = RouteDecided(
        **REQUEST, plan=(PlanStep("d", "primary"),), strategy="cost", cost_strategy="minimize", balancer="round_robin",
        task="code", confidence=0.5, reasons=("cheapest",), candidates=(0,), estimates=b"\x00\x00\x80\x3f",
        propensities=(), excluded=(Exclusion(1, "circuit_open", 9),), cut=False, control_offset=0, seed=1,
        decision_us=9.0,
        **NO_INPUTS,
    )  # fmt: skip
    payload = orjson.loads(str(named(event, "decisions")["payload"]))
    assert (payload["estimates"], payload["excluded"][0]["index"]) == ("AACAPw==", 1)


def test_only_another_record_with_the_same_id_is_a_duplicate() -> None:
    event = RequestDeduplicated(**REQUEST, first_source=Source("llm.requests", 3, 1))
    assert named(event)["status"] == "deduplicated"
    assert named(replace(event, first_source=event.source))["status"] == ""


def test_a_tombstone_names_what_its_snapshot_named() -> None:
    snapshot = Snapshot("budget", 1, "tenant:acme/day", "llm.state-x", 4, 8, 20, 90, b"{}")
    tombstone = Tombstone.parse(snapshot.key)
    same = ("kind", "subject", "version", "source_topic", "source_partition")
    assert [named(snapshot)[name] for name in same] == [named(tombstone)[name] for name in same]


def test_a_dead_letter_is_read_from_its_json() -> None:
    value = orjson.dumps({
        "reason": "not JSON", "source": {"topic": "llm.requests", "partition": 0, "offset": 4}, "length": 3,
        "hash": "ab", "request_id": None,
    })  # fmt: skip
    assert DeadLetter.parse(value, 77) == DeadLetter("not JSON", "llm.requests", 0, 4, 3, "ab", 77)
    with pytest.raises(ValueError, match="no dead letter"):
        DeadLetter.parse(b"[]", 77)


def test_what_could_not_be_read_is_a_row_too() -> None:
    row = named(IngestError("no schema", 12, "cd"))
    assert row["event"] == "IngestError"
    assert orjson.loads(str(row["payload"]))["length"] == 12
