"""`turnout demo`: a finite run with an outage in the middle; ends by itself and audits what it did."""

import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.options import AsJson, Config, print_json, run, say, work_folder


def demo(
    config: Config = None,
    requests: Annotated[int, typer.Option(min=500, help="How many requests to send.")] = 600,
    rate: Annotated[float, typer.Option(min=1, max=200, help="Requests a second.")] = 20.0,
    seed: Annotated[int, typer.Option(help="Seed of the requests and of the simulated providers.")] = 7,
    as_json: AsJson = False,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep Kafka, SQL and logs in this new folder.")
    ] = None,
) -> None:
    """Send some hundred requests while one of two primary providers fails for a third of the time, then audit the log.

    Everything runs on free ports and in a temporary folder; of a configuration file the worker's part is used (routing,
    circuit, budgets ...), with the simulators' catalog. Exits 1 if a request was lost or answered twice.

    \b
    Example:
      turnout demo --requests 600 --rate 20
    """
    from infra.demo.interruption import Interruption
    from infra.demo.report import print_report
    from infra.demo.run import run_demo
    from infra.demo.traffic import TRAFFIC_S, Plan
    from infra.local import free_ports, local_stack, taken_in
    from schemas.errors import ConfigurationError, OperationError

    if requests / rate > TRAFFIC_S:
        raise ConfigurationError(
            f"{requests} requests at {rate:g}/s take {requests / rate:.0f} s; give a --rate of at least "
            f"{math.ceil(requests / TRAFFIC_S)}, for the traffic of a demo ends within {TRAFFIC_S:.0f} s"
        )
    base = taken_in(config)
    interruption = Interruption()
    try:
        with work_folder("turnout-demo-", keep) as folder:
            say(
                "Starting Kafka, simulated providers, a worker and SQL (the first time, Kafka is downloaded: 43 MB) ..."
            )
            with local_stack(folder, base, free_ports(), simulate=True, seed=seed) as stack:
                try:
                    say(f"Sending {requests} requests at {rate:g}/s.")
                    live = sys.stdout.isatty() and not as_json
                    document = run(interruption.cancelling(run_demo(stack, Plan(requests, rate, seed), live=live)))
                finally:
                    interruption.ignore()
    except KeyboardInterrupt:
        say("Stopped.")
        raise typer.Exit(128 + interruption.number) from None
    except OperationError:
        if keep is None:
            say("The logs went with the temporary folder; keep them with `turnout demo --keep DIR`.")
        raise
    if as_json:
        print_json(document, indent=True)
    else:
        print_report(document)
    if keep is not None:
        say(f"Kept in {keep}; look into it with `turnout up --simulate --data {keep}`.")
    if not document["ok"]:
        raise typer.Exit(1)
