"""`turnout up`: everything on one machine, until Ctrl-C."""

import os
import shlex
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.cli.options import Config, say

if TYPE_CHECKING:
    from infra.local import Stack

LEADING_ELSEWHERE = ("TURNOUT_KAFKA__BOOTSTRAP_SERVERS", "TURNOUT_KAFKA__SECURITY", "TURNOUT_SQL__URL")


def up(
    config: Config = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Add provider simulators and use their catalog instead of the file's.")
    ] = False,
    data: Annotated[Path, typer.Option(help="Where Kafka, SQL and logs are kept.")] = Path("data"),
    kafka_port: Annotated[int, typer.Option(min=1, max=65_535, help="Kafka's port on loopback.")] = 9092,
    simulators_port: Annotated[
        int, typer.Option(min=1, max=65_535, help="The provider simulators' port on loopback.")
    ] = 9100,
    seed: Annotated[int, typer.Option(help="Seed of the simulators.")] = 7,
    routers: Annotated[int, typer.Option(min=1, help="Processes that route; each fills one core.")] = 1,
) -> None:
    """Run Kafka, the topics, a worker and SQL on this machine; what dies is started again; Ctrl-C stops it cleanly.

    \b
    Example:
      turnout up --simulate
    """
    from infra.local import Ports, local_stack, taken_in
    from infra.ports import free_port
    from streams.settings import Settings

    elsewhere = [name for name in os.environ if name.upper().startswith(LEADING_ELSEWHERE)]
    document = taken_in(config)
    settings = Settings.model_validate(document)
    web, sql = settings.web.port or free_port(neighbours=routers), settings.sql.port or free_port()
    further = tuple(range(web + 2, web + 1 + routers))
    ports = Ports(kafka_port, sql, web, simulators_port, projector_web=web + 1, further=further)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    say("Starting Kafka, the worker and SQL ...")
    with local_stack(data.absolute(), document, ports, simulate=simulate, seed=seed) as stack:
        _announce(stack, simulate)
        if elsewhere:
            say(f"Commands in a shell with {' and '.join(elsewhere)} do not come here: unset it there.")
        while not stop.wait(1.0):
            for name, line in stack.supervisor.revive().items():
                # What is no log's JSON is the sentence, or the exception, that it ended with.
                why = f" ({line})" if line and line[0] != "{" else ""
                say(f"The {name} ended{why} and was started again; see {data / 'logs' / name}.log.")
            if not stack.broker.running:
                say("Kafka ended and is started again ...")
                stack.broker.start()
                say("Kafka is back.")
        say("Stopping ...")
    say("Stopped.")


def _announce(stack: "Stack", simulate: bool) -> None:
    kafka, sql, web = stack.ports.kafka, stack.ports.sql, stack.ports.web
    prefix = stack.settings.kafka.topic_prefix
    say(f"Ready. Publish to {prefix}requests at 127.0.0.1:{kafka}, read {prefix}responses.")
    say(f"SQL: http://127.0.0.1:{sql}   metrics: http://127.0.0.1:{web}/metrics   configuration: {stack.config}")
    if simulate:
        say(f"Simulators: http://127.0.0.1:{stack.ports.simulators}/control")
    say(f"Commands: turnout send --config {shlex.quote(str(stack.config))} ...   Ctrl-C stops everything.")
