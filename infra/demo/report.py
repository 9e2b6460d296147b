"""The end of a run: one document, and the same as text for people."""

from collections.abc import Sequence
from typing import Any

import typer

from infra.cli.explanation import explained, words
from infra.cli.options import print_table
from infra.demo.audit import Audit
from infra.demo.outside import Call, within
from infra.demo.traffic import Plan, Tally
from infra.demo.warehouse import Rows
from schemas.events import CircuitClosed, CircuitHalfOpened, CircuitOpened
from schemas.units import MICROS_PER_S, iso

STATUS = {CircuitOpened: "open", CircuitHalfOpened: "half-open", CircuitClosed: "closed"}
Document = dict[str, Any]


def transitions(audit: Audit, started: int) -> Rows:
    """Of every circuit in the order of time; `after_s` counts from the first request."""
    events = sorted(audit.transitions.values(), key=lambda event: (event.logged_at, event.epoch))
    return [
        {
            "deployment": event.deployment, "circuit": STATUS[type(event)], "at": iso(event.logged_at),
            "after_s": round((event.logged_at - started) / MICROS_PER_S, 1), "reason": event.reason,
        }
        for event in events if type(event) in STATUS
    ]  # fmt: skip


def while_open(audit: Audit, calls: Sequence[Call], victim: str, now: int) -> Document:
    """Calls that reached the victim while its circuit was open. `latest_ms`: the last ordinary one, after it opened."""
    events = sorted(
        (event for event in audit.transitions.values() if event.deployment == victim),
        key=lambda event: (event.logged_at, event.epoch),
    )
    ordinary, probes, latest = 0, 0, 0.0
    for place, event in enumerate(events):
        if isinstance(event, CircuitOpened):
            end = events[place + 1].logged_at if place + 1 < len(events) else now
            found, probing = within(calls, victim, event.logged_at, end)
            ordinary, probes = ordinary + len(found), probes + len(probing)
            latest = max([latest, *((call.at - event.logged_at) / 1_000 for call in found)])
    return {"calls": ordinary, "latest_ms": round(latest, 1), "probes": probes}


def document_of(
    plan: Plan, tally: Tally, audit: Audit, calls: Sequence[Call], tables: dict[str, Rows], in_sql: dict[str, int], *,
    completed: int, started: int, ended: int, outage: tuple[float, float],
) -> Document:  # fmt: skip
    """Everything that a run found. `completed`: requests whose outcome SQL knows.

    `started`, `ended`: microseconds; `outage`: seconds after the start.
    """
    story = [line for told in explained(audit.story, audit.control) for line in words(told)]
    sql = tables["summary"][0]
    integrity = {
        "lost": audit.lost, "answered_twice": audit.answered_twice, "drift_rows": tables["drift"][0]["n"],
        "completed_in_sql": completed,
        "topics": [
            {"topic": name, "in_topic": count, "in_sql": in_sql.get(name, 0)} for name, count in audit.counts.items()
        ],
    }  # fmt: skip
    equal = completed == len(audit.requests) and all(row["in_topic"] == row["in_sql"] for row in integrity["topics"])
    sound = equal and not (audit.lost or audit.answered_twice or integrity["drift_rows"] or tally.late)
    return {
        "ok": sound,
        "plan": {"requests": plan.requests, "rate": plan.rate, "seed": plan.seed},
        "summary": {
            "seconds": round((ended - started) / MICROS_PER_S, 1), "requests": len(audit.requests),
            "answered": tally.answered, "errors": tally.errors, "late": tally.late, "fallbacks": len(tally.fell_back),
            "p50_ms": sql["p50_ms"], "p95_ms": sql["p95_ms"], "cost_usd": sql["cost_usd"],
        },
        "outage": {
            "deployment": plan.victim, "from_s": round(outage[0], 1), "to_s": round(outage[1], 1),
            "while_open": while_open(audit, calls, plan.victim, ended),
        },
        "circuits": transitions(audit, started),
        "sql": {name: found for name, found in tables.items() if name not in ("summary", "drift")},
        "decision": {"request_id": tally.story, "words": story},
        "integrity": integrity | {"counts_equal": equal},
    }  # fmt: skip


def print_report(document: Document) -> None:
    """The document as text on stdout."""
    summary, outage, integrity = document["summary"], document["outage"], document["integrity"]
    late = f", {summary['late']} without an answer in time" if summary["late"] else ""
    _title("Summary")
    typer.echo(
        f"{summary['requests']} requests in {summary['seconds']:.1f} s: {summary['answered']} answered, "
        f"{summary['errors']} errors{late}, {summary['fallbacks']} by fallback\n"
        f"latency p50 {summary['p50_ms']:.0f} ms, p95 {summary['p95_ms']:.0f} ms; cost {_usd(summary['cost_usd'])}"
    )
    _title(f"The outage: {outage['deployment']} answered 500 from {outage['from_s']} s to {outage['to_s']} s")
    print_table(
        ("after", "deployment", "circuit", "reason"),
        [(f"{row['after_s']:.1f} s", row["deployment"], row["circuit"], row["reason"]) for row in document["circuits"]],
    )
    found = outage["while_open"]
    latest = f" (the last {found['latest_ms']:.0f} ms after it opened)" if found["calls"] else ""
    typer.echo(
        f"\nBy its own bill, {found['calls']} calls reached {outage['deployment']} while its circuit was open{latest}, "
        f"and {found['probes']} probes."
    )
    sql = document["sql"]
    _title("Requests by deployment (SQL: requests)")
    _table(sql["deployments"])
    _title("Provider health (SQL: provider_health)")
    _table(sql["provider_health"], leave_out=("provider",))
    _title("Cost by tenant and model (SQL: tenant_costs)")
    _table(sql["tenant_costs"], leave_out=("provider",))
    if document["decision"]["words"]:
        _title("One decision in words (turnout explain)")
        typer.echo("\n".join(document["decision"]["words"]))
    _title("The audit, from the topics themselves")
    print_table(
        ("topic", "events in it", "events in SQL"),
        [(row["topic"], row["in_topic"], row["in_sql"]) for row in integrity["topics"]],
    )
    typer.echo(
        f"\nrequests lost: {integrity['lost']}, answered twice: {integrity['answered_twice']}\n"
        f"drift rows: {integrity['drift_rows']}, requests completed in SQL: {integrity['completed_in_sql']}, "
        f"topics and SQL {'agree' if integrity['counts_equal'] else 'DIFFER'}"
    )


def _title(text: str) -> None:
    typer.echo(f"\n{text}\n{'-' * len(text)}")


def _table(rows: Rows, leave_out: Sequence[str] = ()) -> None:
    names = [name for name in rows[0] if name not in leave_out] if rows else []
    print_table([_heading(name) for name in names], [[_cell(name, row[name]) for name in names] for row in rows])


def _heading(name: str) -> str:
    return name.replace("_usd", "").replace("_", " ")


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name.startswith("cost"):
        return _usd(value)
    if name == "success":
        return f"{100 * value:.1f} %"
    return f"{value:.0f}" if name.endswith("_ms") else str(value)


def _usd(amount: float) -> str:
    return f"${amount:.6f}"
