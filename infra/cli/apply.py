"""`turnout apply`: publishes the configuration to the control log, after it printed what changes."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.cli.options import Config, codec_of, print_text, run, say, settings_of

if TYPE_CHECKING:
    from schemas.inforce import InForce
    from streams.settings import Settings

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would change and publish nothing.")]


def apply(config: Config = None, dry_run: DryRun = False) -> None:
    """Print what changes and publish catalog, routing, circuit, budgets, sla, tenants and alerts.

    \b
    Example:
      turnout apply --config turnout.yaml
    """
    run(_apply(settings_of(config), dry_run))


async def _apply(settings: "Settings", dry_run: bool) -> None:
    from infra.cli.reading import read_control
    from streams.apply import configuration_event, publish_control
    from streams.clock import BrokerClock
    from streams.reader import group_less

    codec, clock = await codec_of(settings), BrokerClock()
    async with group_less(settings.kafka.access) as consumer:
        inforce = (await read_control(consumer, settings, codec)).current
    changed = differences(inforce, settings)
    for key, (before, after) in changed.items():
        print_text(f"{key}: {_shown(before)} -> {_shown(after)}")
    if inforce.applied and not changed:
        typer.echo(f"nothing changed; control offset {inforce.offset}")
        return
    if dry_run:
        say("dry run: nothing was published")
        return
    offset = await publish_control(settings, codec, clock, [configuration_event(settings, clock.now())])
    typer.echo(f"applied at control offset {offset}")


def differences(inforce: "InForce", settings: "Settings") -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (in force, in the file), also for what commands set: an apply ends those."""
    from streams.apply import changes

    found = changes(inforce, settings)
    fresh = {budget.subject: budget for budget in settings.budgets}
    known = {budget.subject: budget for budget in inforce.configuration.budgets}
    for budget in inforce.budgets:
        if known.get(budget.subject) != budget and fresh.get(budget.subject) != budget:
            after = fresh.get(budget.subject)
            limit = after.limit_usd if after else None
            found[f"budget {budget.subject} (set by a command)"] = (budget.limit_usd, limit)
    for tenant, strategy in inforce.strategies.items():
        name = f"strategy of {tenant}" if tenant else "strategy"
        found[f"{name} (set by a command)"] = (strategy, None if tenant else settings.routing.strategy)
    for tenant, weights in inforce.weights.items():
        name = f"weights of {tenant}" if tenant else "weights"
        found[f"{name} (set by a command)"] = (weights, None if tenant else settings.routing.weights)
    return found


def _shown(value: Any) -> str:
    import orjson

    return "nothing" if value is None else orjson.dumps(value).decode()
