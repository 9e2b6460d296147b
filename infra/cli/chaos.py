"""`turnout chaos`: real processes, a nemesis with a seed, and a checker of what the log then holds."""

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.options import Config, say, work_folder


def chaos(
    config: Config = None,
    seed: Annotated[int, typer.Option(help="The same seed draws the same faults at the same moments.")] = 1,
    minutes: Annotated[float, typer.Option(min=0.2, help="How long requests are sent.")] = 5.0,
    rate: Annotated[float, typer.Option(min=1, help="Requests a second, whatever comes back.")] = 40.0,
    plan: Annotated[
        str | None, typer.Option(help="A named plan in place of drawn faults; `list` prints them all.")
    ] = None,
    requests: Annotated[int, typer.Option(min=100, help="How many requests a named plan sends.")] = 10_000,
    deadline_s: Annotated[float, typer.Option(min=1, help="How long a request may take.")] = 30.0,
    brokers: Annotated[
        int, typer.Option(min=1, max=5, help="Kafka brokers; of several every topic has a replica on each.")
    ] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report there too.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep Kafka, SQL and logs in this new folder.")
    ] = None,
) -> None:
    """Kill, freeze and scale workers, projectors, sink and broker under traffic, fill and slow their disks, check every record.

    Faults of disks need root, loop devices and mkfs.ext4, and are skipped without them; --keep then keeps such a disk as its
    image. Everything runs on free ports and in a temporary folder; of a configuration file the worker's part is used, with the
    simulators' catalog. Exits 1 when a request was lost or answered twice, a call was
    bought twice, costs differ from the providers' bill, or SQL or llm.state from the log.

    \b
    Example:
      turnout chaos --seed 7 --minutes 5
      turnout chaos --plan kill-worker-twice --requests 10000 --rate 100
    """
    from infra.chaos.report import print_report
    from infra.chaos.run import Trial, conduct
    from infra.chaos.schedule import PLANS, drawn
    from infra.local import taken_in
    from schemas.errors import ConfigurationError

    if plan == "list":
        for name, known in PLANS.items():
            typer.echo(f"{name:18} {known.says}")
        return
    base = taken_in(config)
    ends = f"--rate {rate:g} --deadline-s {deadline_s:g}" + (f" --brokers {brokers}" if brokers > 1 else "")
    if plan is None:
        seconds = minutes * 60
        command = f"turnout chaos --seed {seed} --minutes {minutes:g} {ends}"
        trial = Trial("drawn", command, seed, rate, 0, seconds, drawn(seed, seconds), False, deadline_s, {}, brokers)
    elif plan in PLANS:
        named, seconds = PLANS[plan], requests / rate
        command = f"turnout chaos --plan {plan} --seed {seed} --requests {requests} {ends}"
        trial = Trial(
            plan, command, seed, rate, requests, seconds, named.steps(seconds), named.owners_stay, deadline_s,
            named.overrides, brokers,
        )  # fmt: skip
    else:
        raise ConfigurationError(f"there is no plan {plan!r}; use one of {', '.join(PLANS)}")
    for step in trial.steps:
        say(f"planned {step.at_s:7.1f} s  {step.fault} pick={step.pick} seconds={step.seconds} count={step.count}")
    with work_folder("turnout-chaos-", keep) as folder:
        say("Starting Kafka, simulated providers, workers, projectors and SQL ...")
        document = conduct(trial, base, folder)
    print_report(document)
    if json_file is not None:
        import orjson

        json_file.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    if not document["ok"]:
        raise typer.Exit(1)
