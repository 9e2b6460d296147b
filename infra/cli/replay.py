"""`turnout replay`: proves that the published state is a fold of the log."""

from dataclasses import asdict
from typing import Annotated

import typer

from infra.cli.moments import moment
from infra.cli.options import AsJson, Config, print_json, run, say, settings_of

SHOWN = 10


def replay(
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Leave out what was logged later: ISO 8601.")
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Fold the whole log again and compare it with every published snapshot; exit 1 when they differ.

    \b
    Example:
      turnout replay --until 2026-11-25T12:00:00Z
    """
    from streams.replay import replay as replayed

    report = run(replayed(settings_of(config), None if until is None else moment(until)))
    if as_json:
        print_json(asdict(report) | {"equal": report.equal})
    else:
        verdict = "equal" if report.equal else f"{len(report.differences)} differ"
        typer.echo(
            f"{report.records} records of {report.partitions} partitions folded from the beginning and from "
            f"{report.starts} published states onward: {report.compared} comparisons with {report.snapshots} snapshots, "
            f"{verdict}"
        )
        typer.echo(f"state of SHA-256 {report.digest}")
        for difference in report.differences[:SHOWN]:
            start = "the beginning" if difference.start < 0 else f"offset {difference.start}"
            typer.echo(f"{difference.key} at offset {difference.offset}, folded from {start}")
            typer.echo(f"  published {difference.published}")
            typer.echo(f"  replayed  {difference.replayed or 'nothing'}")
    for sentence in report.unproven:
        say(f"not proven: {sentence}")
    if not report.equal:
        raise typer.Exit(1)
