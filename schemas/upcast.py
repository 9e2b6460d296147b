"""Old bytes stay readable: each step lifts the record of one event by one version. Folds only see the newest."""

from collections.abc import Callable, Mapping
from typing import Any

from schemas.errors import UnknownEvent

Record = dict[str, Any]
Upcaster = Callable[[Record], Record]


def _decided_without_inputs(record: Record) -> Record:
    """Version 1 did not say all that a decision was made from: without blocks it cannot be re-made."""
    return record | {
        "blocks": (), "in_flight": (), "inputs": b"", "turn": 0, "workers": 1, "session": 0, "fallback": True,
    }  # fmt: skip


def _assigned_by_unknown(record: Record) -> Record:
    """Version 1 did not say under which membership of the group."""
    return record | {"member": "", "generation": -1}


UPCASTERS: dict[tuple[str, int], Upcaster] = {
    ("RouteDecided", 1): _decided_without_inputs,
    ("AssignmentStarted", 1): _assigned_by_unknown,
}
"""(event, version it reads) -> the record in the next version."""


def upcast(
    record: Record, newest: Mapping[str, int], upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS
) -> Record:
    """Lift a tagged record to the newest version of its event. Raises UnknownEvent when no chain of steps leads there."""
    name, version = record.get("event"), record.get("version")
    if not isinstance(name, str) or not isinstance(version, int) or name not in newest:
        raise UnknownEvent(f"event {name} version {version} is not known here; run a Turnout version that knows it")
    while version < newest[name]:
        step = upcasters.get((name, version))
        if step is None:
            raise UnknownEvent(f"no upcaster reads {name} version {version}; run a Turnout version that does")
        record = step(record) | {"event": name, "version": version + 1}
        version += 1
    if version > newest[name]:
        raise UnknownEvent(f"{name} version {version} is newer than this Turnout; upgrade this worker")
    return record
