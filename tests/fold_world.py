"""What folds under test run in: a catalog, commands in force by control offset, a projection and its states as bytes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fold_events import HOOK, SECOND, SECOND_HOOK, START

from projections.partition import FOLDS, Fold, PartitionProjection
from schemas.catalog import Catalog
from schemas.inforce import InForce
from schemas.policy import AlertPolicy, CircuitPolicy, Configuration
from schemas.snapshots import Snapshot, encode_value

# One of them without a limit; only those with one are counted by the hour.
CATALOG = Catalog.model_validate({
    "models": [{"id": "m"}],
    "deployments": [
        {"id": name, "provider": "openai", "model": "m", "base_url": "http://h", "limits": {"requests_per_minute": limit}}
        for name, limit in (("d1", 100), ("d2", 1), ("d3", None))
    ],
})  # fmt: skip


def in_force(
    forced: dict[str, str] | None = None, alerts: AlertPolicy | None = None, silenced: dict[str, int] | None = None,
    zones: dict[str, str] | None = None, **circuit: Any,
) -> InForce:  # fmt: skip
    return InForce(
        offset=0, applied=True, forced=forced or {}, silenced=silenced or {}, zones=zones or {},
        configuration=Configuration(
            catalog=CATALOG, circuit=CircuitPolicy(**circuit), alerts=alerts or AlertPolicy()
        ),
    )  # fmt: skip


ALERTING = AlertPolicy(escalate_after_s=60, webhooks=(HOOK, SECOND_HOOK))


CONTROL = (
    in_force(failure_threshold=3, minimum_calls=6, window_s=10, slow_call_s=1, success_threshold=2),
    in_force({"d1": "open"}, zones={"tenant0": "Asia/Kolkata", "tenant1": "Europe/Berlin"}, failure_threshold=2),
    in_force(
        {"d1": "closed", "d2": "open"},
        zones={"tenant0": "America/Havana"},
        failure_threshold=3,
        probe_interval_s=0,
        open_s=10,
    ),
    in_force(alerts=ALERTING, failure_threshold=3, probe_interval_s=0, open_s=10, success_threshold=1),
    in_force(alerts=ALERTING, silenced={"circuit:*": START + 2_000 * SECOND}, failure_threshold=2, minimum_calls=4),
    in_force(alerts=ALERTING, failure_threshold=2, minimum_calls=4, window_s=30),
)
"""What is in force at control offset 0, 1, ..."""


def control(offset: int) -> InForce:
    return CONTROL[min(offset, len(CONTROL) - 1)] if offset >= 0 else InForce()


def projection(kind: str, partition: int = 0, given: Callable[[int], InForce] = control) -> PartitionProjection:
    return PartitionProjection(f"llm.{kind}", partition, FOLDS[kind], given)


def values(projected: PartitionProjection, kind: str) -> dict[tuple[str, str], bytes]:
    """Every state of a projection as bytes, and its cursor."""
    folds: Sequence[Fold] = FOLDS[kind]
    found = {
        (fold.kind, subject): encode_value(projected.snapshot(fold.kind, subject))
        for fold in folds
        for subject in projected.subjects(fold.kind)
    }
    cursor = projected.covered, projected.clock, projected.control_offset
    return found | {("cursor", ""): encode_value(cursor)}


@dataclass
class Compacted:
    """llm.state as compaction leaves it: the last written of each key."""

    held: dict[str, Snapshot] = field(default_factory=dict)

    def write(self, snapshots: Iterable[Snapshot]) -> None:
        for snapshot in snapshots:
            self.held[snapshot.key] = snapshot
