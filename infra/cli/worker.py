"""`turnout worker`: the router and the projector, until a signal."""

import logging
from typing import Annotated, Literal

import typer

from infra.cli.options import Config
from streams.loading import load_settings, settings_file


def worker(
    config: Config = None,
    only: Annotated[
        Literal["router", "projector"] | None, typer.Option(help="Run one of the two apps instead of both.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log what is assigned, applied and started.")] = False,
) -> None:
    """Route requests and fold events until SIGTERM or Ctrl-C, which drain within worker.drain_s.

    Example: turnout worker --config turnout.yaml --only router
    """
    from infra.processes import STOP_S, Ending, log_to, return_large_blocks, run_until_signal
    from streams.worker import Role, running_worker

    log_to(logging.INFO if verbose else logging.WARNING, json=True)
    settings = load_settings(settings_file(config))
    return_large_blocks()
    roles: tuple[Role, ...] = (only,) if only else ("router", "projector")

    async def main(ending: Ending) -> None:
        async with running_worker(settings, roles, ending.set) as running:
            running.failed.add_done_callback(lambda _: ending.set())
            await ending.wait()
            if running.failed.done():
                running.failed.result()

    run_until_signal(main, grace_s=settings.worker.drain_s + STOP_S)
