"""`turnout set`: single commands to the control log, checked against what is in force."""

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.cli.options import Config, codec_of, run, settings_of
from infra.cli.set_values import duration_us, known, weights_of
from schemas.numbers import MOST_USD

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.events import Event
    from schemas.inforce import InForce

app = typer.Typer(
    help="Change one thing that is in force.\n\n\b\nExample:\n  turnout set budget tenant:acme day 200",
    no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip


class Position(StrEnum):
    """Where a circuit is held."""

    OPEN = "open"
    CLOSED = "closed"
    AUTO = "auto"


class Switch(StrEnum):
    """Whether a deployment serves."""

    OFF = "off"
    ON = "on"


class Voice(StrEnum):
    """Whether webhooks hear of an alert."""

    SILENCE = "silence"
    SPEAK = "speak"


class Period(StrEnum):
    """UTC; weeks start on Monday."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class AtLimit(StrEnum):
    """What happens when a budget is used up."""

    REJECT = "reject"
    LOCAL_ONLY = "local_only"


class Release(StrEnum):
    """What can be done with a credential."""

    RELEASE = "release"


ALERT_KINDS = ("sla", "budget", "circuit", "anomaly", "partition")
Make = Callable[["InForce", dict[str, Any]], "Event"]


@app.command("budget")
def budget(
    scope: Annotated[str, typer.Argument(help="global, tenant:T, provider:P or deployment:D")],
    period: Annotated[Period, typer.Argument(help="The UTC period.")],
    usd: Annotated[float, typer.Argument(help="The limit in US dollars.")],
    at_limit: Annotated[AtLimit | None, typer.Option(help="At the limit; as it is by default.")] = None,
    config: Config = None,
) -> None:
    """Set the limit of a budget, or make a new one.

    \b
    Example:
      turnout set budget tenant:acme day 200 --at-limit reject
    """

    def make(inforce: "InForce", origin: dict[str, Any]) -> "Event":
        from schemas.errors import ConfigurationError
        from schemas.events import BudgetSet
        from schemas.units import usd_to_nano

        kind, _, name = scope.partition(":")
        if scope != "global" and not (kind in ("tenant", "provider", "deployment") and name):
            raise ConfigurationError(f"{scope} is no scope; use global, tenant:T, provider:P or deployment:D")
        if not 0 <= usd <= MOST_USD:
            raise ConfigurationError(f"{usd:g} is no limit; give 0 to {MOST_USD} US dollars")
        catalog = inforce.configuration.catalog
        if kind == "deployment":
            known(name, catalog.deployment_by_id, "deployment")
        if kind == "provider":
            known(name, {deployment.provider for deployment in catalog.deployments}, "provider")
        return BudgetSet(
            **_origin(origin, f"budget/{scope}/{period}"), scope=scope, period=period.value,
            limit_nano_usd=usd_to_nano(usd), at_limit=at_limit.value if at_limit else "",
        )  # fmt: skip

    _publish(config, make)


@app.command("strategy")
def strategy(
    name: Annotated[str, typer.Argument(help="A selection strategy, such as cost or adaptive.")],
    tenant: Annotated[str, typer.Option(help="For one tenant; for all by default.")] = "",
    config: Config = None,
) -> None:
    """Set the selection strategy of a tenant, or of all.

    \b
    Example:
      turnout set strategy cost --tenant acme
    """

    def make(inforce: "InForce", origin: dict[str, Any]) -> "Event":
        from typing import get_args

        from schemas.events import StrategySet
        from schemas.policy import StrategyName

        known(name, get_args(StrategyName), "strategy")
        return StrategySet(**_origin(origin, f"strategy/{tenant}"), strategy=name, tenant=tenant)

    _publish(config, make)


@app.command("weights")
def weights(
    given: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=NUMBER...", help="cost, speed, quality, reliability or load.")
    ] = None,
    tenant: Annotated[str, typer.Option(help="For one tenant; for all by default.")] = "",
    clear: Annotated[bool, typer.Option("--clear", help="Go back to what the file says.")] = False,
    config: Config = None,
) -> None:
    """Set the weights that weighted and adaptive choose by, for a tenant or for all.

    \b
    Example:
      turnout set weights cost=0.6 quality=0.4 --tenant acme
    """
    from schemas.errors import ConfigurationError

    if clear and given:
        raise ConfigurationError("--clear takes no weights; name weights or clear them")
    heavy = {} if clear else weights_of(given or [])

    def make(inforce: "InForce", origin: dict[str, Any]) -> "Event":
        from schemas.events import WeightsSet

        return WeightsSet(**_origin(origin, f"weights/{tenant}"), weights=heavy, tenant=tenant)

    _publish(config, make)


@app.command("circuit")
def circuit(
    deployment: Annotated[str, typer.Argument(help="The deployment's id.")],
    position: Annotated[Position, typer.Argument(help="auto gives it back to the fold.")],
    config: Config = None,
) -> None:
    """Hold the circuit of a deployment open or closed, or release it.

    \b
    Example:
      turnout set circuit openai-mini-eu open
    """

    def make(inforce: "InForce", origin: dict[str, Any]) -> "Event":
        from schemas.events import CircuitForced

        known(deployment, inforce.configuration.catalog.deployment_by_id, "deployment")
        origin = _origin(origin, f"circuit/{deployment}")
        return CircuitForced(**origin, deployment=deployment, position=position.value)

    _publish(config, make)


@app.command("deployment")
def deployment(
    deployment_id: Annotated[str, typer.Argument(metavar="ID", help="The deployment's id.")],
    switch: Annotated[Switch, typer.Argument(help="off takes it out of service.")],
    config: Config = None,
) -> None:
    """Take a deployment out of service, or put it back.

    \b
    Example:
      turnout set deployment openai-mini-eu off
    """

    def make(inforce: "InForce", origin: dict[str, Any]) -> "Event":
        from schemas.events import DeploymentSwitched

        known(deployment_id, inforce.configuration.catalog.deployment_by_id, "deployment")
        origin = _origin(origin, f"deployment/{deployment_id}")
        return DeploymentSwitched(**origin, deployment=deployment_id, on=switch is Switch.ON)

    _publish(config, make)


@app.command("credential")
def credential(
    deployment_id: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="The deployment's id.")],
    action: Annotated[Release, typer.Argument(help="release: use what its provider refused again.")],
    config: Config = None,
) -> None:
    """Use the credentials of a deployment again after its provider refused them, and read them anew.

    \b
    Example:
      turnout set credential openai-mini-eu release
    """

    def make(inforce: "InForce", origin: dict[str, Any]) -> "Event":
        from schemas.events import CredentialReleased

        known(deployment_id, inforce.configuration.catalog.deployment_by_id, "deployment")
        return CredentialReleased(**_origin(origin, f"credential/{deployment_id}"), deployment=deployment_id)

    _publish(config, make)


@app.command("alert")
def alert(
    subject: Annotated[
        str, typer.Argument(help="kind:subject as `turnout status` shows it, without #n; may end in *.")
    ],
    voice: Annotated[Voice, typer.Argument(help="speak ends a silence.")],
    duration: Annotated[str, typer.Argument(help="How long: 30m, 1h, 2d.")] = "1h",
    config: Config = None,
) -> None:
    """Tell nobody of an alert for a while. It is still raised, and told when the silence ends and it escalates.

    \b
    Example:
      turnout set alert circuit:openai-mini-eu silence 1h
    """
    length_us = duration_us(duration)

    def make(inforce: "InForce", origin: dict[str, Any]) -> "Event":
        from schemas.errors import ConfigurationError
        from schemas.events import AlertSilenced

        kind = subject.partition(":")[0]
        if not subject.endswith("*") and kind not in ALERT_KINDS:
            raise ConfigurationError(f"{subject} is no alert; write {', '.join(ALERT_KINDS)} and : before its subject")
        if "#" in subject:
            raise ConfigurationError(f"{subject} names one alert; leave off # and its number to silence the subject")
        until = origin["occurred_at"] + length_us if voice is Voice.SILENCE else 0
        return AlertSilenced(**_origin(origin, f"alert/{subject}"), subject=subject, until_at=until)

    _publish(config, make)


def _origin(origin: dict[str, Any], subject: str) -> dict[str, Any]:
    return origin | {"event_id": f"{subject}/{origin['occurred_at']}"}


def _publish(config: "Path | None", make: Make) -> None:
    settings = settings_of(config)

    async def publish() -> int:
        from infra.cli.reading import read_control
        from streams.apply import author, publish_control
        from streams.clock import BrokerClock
        from streams.reader import group_less

        codec, clock = await codec_of(settings), BrokerClock()
        async with group_less(settings.kafka.access) as consumer:
            inforce = (await read_control(consumer, settings, codec)).current
        event = make(inforce, {"occurred_at": clock.now(), "worker": "", "author": author()})
        return await publish_control(settings, codec, clock, [event])

    typer.echo(f"published at control offset {run(publish())}")
