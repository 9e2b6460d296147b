"""`turnout state --at T`: circuits, health, budgets and spend as they were known at a moment."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.cli.moments import moment
from infra.cli.options import AsJson, Config, print_json, print_table, run, say, settings_of
from infra.cli.status import budget_rows, deployment_rows

if TYPE_CHECKING:
    from streams.past import PastState

Rows = list[dict[str, Any]]


def state(
    at: Annotated[str, typer.Option("--at", metavar="TIME", help="ISO 8601, UTC where it names no zone; or now.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Fold the log up to a moment and show what was known then.

    \b
    Example:
      turnout state --at 2026-11-25T12:00:00Z
    """
    from streams.past import state_at

    past = run(state_at(settings_of(config), moment(at)))
    document = shown(past)
    if as_json:
        print_json(document, indent=True)
    else:
        for name, rows in document.items():
            typer.echo(f"{name}:")
            if not isinstance(rows, list):
                typer.echo(f"  {rows}\n")
            elif rows:
                print_table(tuple(rows[0]), [list(row.values()) for row in rows])
                typer.echo("")
            else:
                typer.echo("  none\n")
    for sentence in past.incomplete:
        say(f"incomplete: {sentence}")
    if past.incomplete:
        raise typer.Exit(1)


def shown(past: "PastState") -> dict[str, Any]:
    """The state as `turnout status` shows the present one, and every tenant's spend."""
    from schemas.units import iso

    inforce = past.inforce
    return {
        "at": iso(past.at),
        "control": f"offset {inforce.offset}, {'applied' if inforce.applied else 'nothing applied yet'}",
        "records folded": past.records,
        "deployments": deployment_rows(inforce, past, past.at),
        "budgets": budget_rows(inforce, past, past.at),
        "spend": spend_rows(past),
    }


def spend_rows(past: "PastState") -> Rows:
    """US dollars of each tenant in the hour, day, week and month of the moment, and what was reserved."""
    from schemas.merge import PERIODS
    from schemas.units import nano_to_usd

    return [
        {
            "tenant": tenant,
            **{f"{period}_usd": nano_to_usd(past.spend.spent(f"tenant:{tenant}", period, past.at)) for period in PERIODS},
            "reserved_usd": nano_to_usd(past.spend.reserved(f"tenant:{tenant}")),
        }
        for tenant in sorted(past.tenants)
    ]  # fmt: skip
