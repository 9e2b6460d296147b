"""`turnout simulate`: provider simulators as a process of their own."""

from pathlib import Path
from typing import Annotated

import typer

from infra.cli.options import Config

app = typer.Typer(
    help="Simulate what is outside.\n\n\b\nExample:\n  turnout simulate providers --port 9100",
    no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip


@app.callback()
def simulate() -> None:
    """Simulate what is outside."""


@app.command("providers")
def providers(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 for any free port.")] = 9100,
    seed: Annotated[int, typer.Option(help="Same seed, same answers.")] = 0,
    script: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON: provider name to script.")] = None,
    config: Config = None,
) -> None:
    """Simulate LLM providers on 127.0.0.1 with their wire formats and seeded faults, until Ctrl-C.

    \b
    Example:
      turnout simulate providers --port 9100 --seed 7
    """
    from infra.simulators.__main__ import main

    arguments = ["--port", str(port), "--seed", str(seed)]
    if script is not None:
        arguments += ["--script", str(script)]
    if status := main(arguments):
        raise typer.Exit(status)
