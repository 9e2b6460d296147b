"""`turnout decide`: the decision for a request, made here and now, without calling anyone or publishing anything."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.cli.bodies import read_bodies
from infra.cli.options import AsJson, Config, codec_of, print_json, print_text, run, settings_of

if TYPE_CHECKING:
    from agents.routing.view import RoutingView
    from streams.settings import Settings

MICROS = 1_000_000


def decide(
    request: Annotated[str, typer.Argument(help="A file with a chat-completions body, or - for standard input.")],
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="T", help="Decide for this tenant.")] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Use the log's configuration and state, not the file's alone.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the draws; the same seed decides the same.")] = 0,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Decide without calling anyone: candidates with estimates and scores, what is left out and why, confidence.

    \b
    Example:
      turnout decide request.json --tenant acme
    """
    import time

    from agents.routing.decide import decide as decision_of
    from infra.cli.explanation import decision_story, decision_words
    from schemas.errors import ConfigurationError, RequestError
    from schemas.requests import parse_request

    settings = settings_of(config)
    body = _only(read_bodies(request), request)
    try:
        asked = parse_request(body, max_bytes=settings.worker.max_request_bytes)
        view = run(_live(settings)) if live else _offline(settings)
        configuration = view.inforce.configuration
        if not configuration.catalog.deployments:
            raise ConfigurationError("catalog.deployments is empty; name a configuration with --config, or use --live")
        now = time.time_ns() // 1_000
        patience = asked.routing.deadline_ms or configuration.routing.default_deadline_ms
        started = time.perf_counter()
        decided = decision_of(
            asked, tenant or asked.routing.tenant or "default", view, now=now, deadline_at=now + patience * 1_000,
            seed=seed,
        )  # fmt: skip
        took_us = (time.perf_counter() - started) * MICROS
    except RequestError as error:
        if as_json:
            print_json({"error": {"code": error.code, "message": str(error)}}, indent=True)
        raise
    story = decision_story(decided, configuration.catalog, took_us)
    if as_json:
        print_json(story, indent=True)
        return
    print_text("\n".join([f"Task {decided.task}.", *decision_words(story)]))


def _only(bodies: list[dict[str, Any]], file: str) -> bytes:
    """The one body as JSON. Raises ConfigurationError for several."""
    import orjson

    from schemas.errors import ConfigurationError

    if len(bodies) > 1:
        raise ConfigurationError(f"{file} holds {len(bodies)} requests; decide takes one at a time")
    return orjson.dumps(bodies[0])


def _offline(settings: "Settings") -> "RoutingView":
    """The file's configuration and priors."""
    from agents.routing.view import RoutingView
    from schemas.inforce import InForce
    from schemas.merge import SpendTotals

    configuration = settings.configuration
    return RoutingView(
        inforce=InForce(configuration=configuration, budgets=configuration.budgets), circuits={}, health={},
        spend=SpendTotals(), in_flight={}, cooling={}, out_of_service={}, turn=0,
    )  # fmt: skip


async def _live(settings: "Settings") -> "RoutingView":
    """What the log says is in force, and the newest state. Cooling and credentials are each worker's own."""
    import time
    from collections import Counter

    from agents.routing.view import RoutingView
    from infra.cli.reading import read_control, read_state
    from streams.reader import group_less

    codec = await codec_of(settings)
    async with group_less(settings.kafka.access) as consumer:
        control = await read_control(consumer, settings, codec)
    async with group_less(settings.kafka.access) as consumer:
        state = await read_state(consumer, settings, codec)
    in_flight, tokens = Counter[str](), Counter[str]()
    for load in state.loads.values():
        in_flight.update(load.in_flight)
        tokens.update(load.tokens)
    return RoutingView(
        inforce=control.current, circuits=state.circuits, health=state.health, spend=state.spend, in_flight=in_flight,
        cooling={}, out_of_service={}, turn=0, workers=max(1, len(state.loads)), learned=state.learned,
        quality=state.quality, tokens_in_flight=tokens, forecast=state.demand.expected(time.time_ns() // 1_000),
    )  # fmt: skip
