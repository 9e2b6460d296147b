"""Records of llm.state: which shape each kind of state has, and its value as bytes."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson
from pydantic import TypeAdapter

from schemas.state import (
    AlertState,
    AnomalyState,
    BudgetState,
    CircuitState,
    Cursor,
    Estimate,
    HealthState,
    HourCalls,
    LearnedState,
    QualityState,
    RequestCounts,
    Reservation,
    SlaState,
    SpendState,
    WorkerLoad,
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A record of llm.state. `value`: JSON with sorted keys of one of STATE_SHAPES.

    `epoch`: the owner's AssignmentStarted offset; `offset`: the last source record covered.
    """

    kind: str
    fold_version: int
    subject: str
    topic: str
    partition: int
    epoch: int
    offset: int
    logged_at: int
    value: bytes

    @property
    def key(self) -> str:
        return f"{self.fold_version}:{self.kind}:{self.subject}:{self.topic}-{self.partition}"


STATE_SHAPES: dict[str, type] = {
    "circuit": CircuitState,
    "health": HealthState,
    "learned": LearnedState,
    "demand": HourCalls,
    "quality": QualityState,
    "spend": SpendState,
    "budget": BudgetState,
    "requests_minute": RequestCounts,
    "requests_hour": RequestCounts,
    "requests_day": RequestCounts,
    "sla": SlaState,
    "anomaly": AnomalyState,
    "alert": AlertState,
    "load": WorkerLoad,
    "cursor": Cursor,
}


def encode_value(value: object) -> bytes:
    """A state value as JSON with sorted keys: equal values are equal bytes."""
    if type(value) is SpendState:
        value = _spend_document(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(STATE_SHAPES[kind])


def decode_value(kind: str, value: bytes) -> Any:
    """The inverse of `encode_value` for a kind of STATE_SHAPES."""
    if kind == "spend":
        return _spend_state(orjson.loads(value))
    return _adapter(kind).validate_json(value)


def _spend_document(state: SpendState) -> dict[str, Any]:
    held = {cost_id: tuple(each) for cost_id, each in state.open.items()}
    return {"totals": state.totals, "open": held, "estimated": state.estimated, "zone": state.zone}


def _spend_state(document: dict[str, Any]) -> SpendState:
    return SpendState(
        {scope: tuple(sums) for scope, sums in document["totals"].items()},
        {cost_id: Reservation(*held) for cost_id, held in document["open"].items()},
        {cost_id: Estimate(**guess) for cost_id, guess in document["estimated"].items()},
        document["zone"],
    )
