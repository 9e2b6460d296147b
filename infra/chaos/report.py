"""What a run is reported as: text for people, JSON for the record."""

import os
import platform
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from infra.chaos.check import INVARIANTS
from infra.chaos.check_calls import bought_again, bought_again_after_expulsion
from infra.chaos.check_money import sums
from infra.chaos.history import Breach, History
from schemas.events import AssignmentStarted, RequestCompleted
from schemas.units import nano_to_usd

if TYPE_CHECKING:
    from infra.chaos.nemesis import Nemesis
    from infra.chaos.run import Trial

Document = dict[str, Any]
SHOWN = 12
SQL_INVARIANTS = ("sql_holds_events", "sql_holds_requests", "sql_has_no_drift")


def document_of(
    trial: "Trial", history: History, breaches: list[Breach], nemesis: "Nemesis", counted: dict[str, Any],
    deaths: tuple[str, ...], seconds: float,
) -> Document:  # fmt: skip
    """JSON-able; `ok` when nothing broke."""
    broken = Counter(breach.invariant for breach in breaches)
    return {
        "ok": not breaches,
        "command": trial.command,
        "plan": trial.name,
        "seed": trial.seed,
        "seconds": round(seconds, 1),
        "faults": dict(sorted(nemesis.done.items())),
        "ended_by_themselves": list(deaths),
        "requests": len(history.requests),
        "repeated": counted.get("repeated", 0),
        "unconfirmed": counted.get("unconfirmed", 0),
        "answered": len(history.answers_by_source),
        "answered_ok": sum(answer.status == "ok" for answer in history.answers),
        "errors": dict(Counter(event.code for _, event in history.of(RequestCompleted) if event.code)),
        "lost": broken["none_lost"] + broken["published_stands"],
        "answered_twice": broken["answered_once"],
        "calls": len(history.calls),
        "calls_bought_twice": broken["called_once"] + broken["bought_again_by_reason"],
        "bought_again_by_a_new_owner": bought_again(history),
        "bought_again_after_expulsion": bought_again_after_expulsion(history),
        "owners": sum(1 for _ in history.of(AssignmentStarted)),
        "money_nano_usd": asdict(sums(history)),
        "events": len(history.events),
        "sql_differences": sum(broken[name] for name in SQL_INVARIANTS),
        "broken": {name: broken[name] for name in (*INVARIANTS, "publisher") if broken[name]},
        "breaches": [asdict(breach) for breach in breaches[:200]],
        "schedule": [asdict(step) for step in trial.steps],
        "log": nemesis.log,
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model, memory = platform.machine(), 0
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    except (OSError, ValueError):
        pass
    return {
        "cpu": model, "cores": os.cpu_count(), "memory_gib": memory, "system": platform.platform(),
        "python": platform.python_version(),
    }  # fmt: skip


def print_report(document: Document) -> None:
    """On stdout."""
    money = document["money_nano_usd"]
    faults = ", ".join(f"{name} {count}" for name, count in document["faults"].items()) or "none"
    errors = "".join(f", {code} {count}" for code, count in document["errors"].items())
    typer.echo(f"command        {document['command']}")
    typer.echo(f"seed           {document['seed']}, {document['seconds']:.0f} s in all")
    typer.echo(f"faults         {faults}")
    typer.echo(
        f"requests       {document['requests']} ({document['repeated']} of them published again), "
        f"answered {document['answered']}, ok {document['answered_ok']}{errors}"
    )
    typer.echo(f"lost           {document['lost']}")
    typer.echo(f"answered twice {document['answered_twice']}")
    typer.echo(
        f"calls          {document['calls']}, bought twice {document['calls_bought_twice']}, "
        f"requests run again by a new owner {document['bought_again_by_a_new_owner']}, "
        f"of them by a worker that its group had expelled {document['bought_again_after_expulsion']}"
    )
    typer.echo(
        f"money          certain costs ${nano_to_usd(money['certain']):.9f} = bill ${nano_to_usd(money['bill_certain']):.9f}; "
        f"estimated ${nano_to_usd(money['estimated']):.9f} where the bill says ${nano_to_usd(money['bill_estimated']):.9f}; "
        f"open {money['open_count']}"
    )
    typer.echo(f"SQL            {document['events']} events, {document['sql_differences']} differences")
    machine = document["machine"]
    typer.echo(
        f"machine        {machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, {machine['system']}"
    )
    for sentence in document["ended_by_themselves"]:
        typer.echo(f"note           {sentence}")
    if document["ok"]:
        typer.echo(f"All {len(INVARIANTS)} invariants hold.")
        return
    for name, count in document["broken"].items():
        typer.echo(f"BROKEN         {name}: {count}")
    for breach in document["breaches"][:SHOWN]:
        where = f" [{', '.join(breach['records'])}]" if breach["records"] else ""
        typer.echo(f"  {breach['invariant']}: {breach['subject']}: {breach['says']}{where}")
