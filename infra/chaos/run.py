"""One run: a field, a publisher, a nemesis, and the checker over what they left behind."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from infra.chaos.check import check
from infra.chaos.check_money import SETTLED_US, charges
from infra.chaos.faults import SMALL_DISKS, Step
from infra.chaos.field import Field
from infra.chaos.history import Breach, History
from infra.chaos.nemesis import Nemesis
from infra.chaos.read import read_events, read_history
from infra.chaos.report import Document, document_of
from infra.cli.options import run, say
from projections.fold import LogRecord
from schemas.events import CostReserved

MAX_SETTLE_S = 150.0
QUIET_S = 8.0
"""A tick, a snapshot of it and a quiet flush of the sink."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a run does. `requests` 0: traffic for `seconds`. `deadline_s`: of a request.

    `command`: how to run it again, for the report.
    """

    name: str
    command: str
    seed: int
    rate: float
    requests: int
    seconds: float
    steps: tuple[Step, ...]
    owners_stay: bool
    deadline_s: float
    overrides: Mapping[str, Any]
    brokers: int = 1


def conduct(trial: Trial, base: dict[str, object], folder: Path) -> Document:
    """Run it to its end and check what it left. `base`: the user's file. Raises OperationError when a part does not come up."""
    started = time.monotonic()
    overrides = {"routing": {"default_deadline_ms": int(trial.deadline_s * 1000)}} | dict(trial.overrides)
    small_disks = frozenset(SMALL_DISKS[step.fault] for step in trial.steps if step.fault in SMALL_DISKS)
    with Field(folder, trial.seed, base, overrides, small_disks, brokers=trial.brokers) as field:
        nemesis = Nemesis(field)
        field.begin(trial.rate, trial.requests)
        assert field.load is not None
        load = field.load
        nemesis.run(trial.steps, 0.0 if trial.requests else trial.seconds, lambda: load.poll() is not None)
        say("The traffic is over; what was begun settles.")
        field.heal()
        _settled(field)
        counted = orjson.loads(field.load_report.read_bytes()) if field.load_report.exists() else {}
        say("Reading the topics, SQL and the bill.")
        published = [(partition, offset) for partition, offset in counted.get("published", [])]
        history: History = run(
            read_history(field.settings, field.ports.simulators, published, owners_stay=trial.owners_stay)
        )
        breaches = check(history)
        if not counted:
            breaches.append(Breach("publisher", "load", f"ended with status {load.returncode} and no report"))
        deaths = tuple(field.deaths)
    return document_of(trial, history, breaches, nemesis, counted, deaths, time.monotonic() - started)


def _settled(field: Field) -> None:
    """Wait until every reservation is settled or must be, and the log is quiet."""
    give_up = time.monotonic() + MAX_SETTLE_S
    while time.monotonic() < give_up:
        last = _open_until(run(read_events(field.settings)))
        left_s = last / 1e6 - time.time()
        if left_s <= 0:
            break
        field.revive()
        time.sleep(min(left_s, 5.0))
    time.sleep(QUIET_S)


def _open_until(events: list[LogRecord]) -> int:
    """Microseconds: when the last open reservation must be settled; 0 where none is open."""
    history = History(events=tuple(events))
    standing = charges(history)
    return max(
        (event.deadline_at + SETTLED_US for _, event in history.of(CostReserved) if event.cost_id not in standing),
        default=0,
    )
