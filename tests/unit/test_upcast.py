"""Old records are lifted one version at a time; what no chain reaches is UnknownEvent."""

from typing import Any

import pytest

from schemas.codec import NEWEST
from schemas.errors import UnknownEvent
from schemas.upcast import UPCASTERS, Record, Upcaster, upcast


def add_kind(record: Record) -> Record:
    return record | {"kind": "unknown"}


def rename_ms(record: Record) -> Record:
    return {name: item for name, item in record.items() if name != "ms"} | {"latency_ms": record["ms"]}


STEPS: dict[tuple[str, int], Upcaster] = {("Failed", 1): add_kind, ("Failed", 2): rename_ms}
NEW = {"Failed": 3, "Ticked": 1}


def test_a_chain_lifts_to_the_newest() -> None:
    old = {"event": "Failed", "version": 1, "ms": 4.0}
    lifted = upcast(old, NEW, STEPS)
    assert lifted == {"event": "Failed", "version": 3, "kind": "unknown", "latency_ms": 4.0}
    assert old == {"event": "Failed", "version": 1, "ms": 4.0}


def test_a_chain_may_begin_in_its_middle() -> None:
    lifted = upcast({"event": "Failed", "version": 2, "kind": "timeout", "ms": 4.0}, NEW, STEPS)
    assert lifted == {"event": "Failed", "version": 3, "kind": "timeout", "latency_ms": 4.0}


def test_the_newest_is_left_as_it_is() -> None:
    record = {"event": "Ticked", "version": 1}
    assert upcast(record, NEW, STEPS) is record


def test_a_missing_step_names_itself() -> None:
    with pytest.raises(UnknownEvent, match="no upcaster reads Failed version 2; run a Turnout version that does"):
        upcast({"event": "Failed", "version": 1, "ms": 1.0}, NEW, {("Failed", 1): add_kind})


def test_a_newer_version_asks_for_an_upgrade() -> None:
    with pytest.raises(UnknownEvent, match="Failed version 4 is newer than this Turnout; upgrade this worker"):
        upcast({"event": "Failed", "version": 4}, NEW, STEPS)


@pytest.mark.parametrize(
    "record",
    [{}, {"event": "Failed"}, {"version": 1}, {"event": "Other", "version": 1}, {"event": "Failed", "version": "1"}],
)
def test_an_untagged_or_unknown_record_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(UnknownEvent, match="is not known here; run a Turnout version that knows it"):
        upcast(record, NEW, STEPS)


def test_every_older_version_of_every_event_has_its_step() -> None:
    needed = {(name, version) for name, newest in NEWEST.items() for version in range(1, newest)}
    assert set(UPCASTERS) == needed
