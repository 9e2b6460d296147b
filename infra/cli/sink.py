"""`turnout sink`: events into ClickHouse, and the SQL door where the engine is embedded."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from infra.cli.options import Config
from streams.loading import load_settings, settings_file
from streams.settings import Settings

log = structlog.get_logger()
EMBEDDED = "chdb:"
FORECAST_S = 300.0
RETENTION_S = 3_600.0
# A flush takes both cores of a small machine for a tenth of a second, and SQL can wait for it longer than a request can.
NICE = 5
AWAY_S = 5.0


def sink(
    config: Config = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log what is assigned and replayed.")] = False,
) -> None:
    """Copy every event, snapshot and dead letter into ClickHouse, exactly once, until SIGTERM or Ctrl-C.

    With sql.url `chdb:PATH` it also serves SQL over HTTP at sql.port.
    Example: turnout sink --config turnout.yaml
    """
    from infra.processes import STOP_S, Ending, log_to, run_until_signal, yield_processor

    log_to(logging.INFO if verbose else logging.WARNING, json=True)
    settings = load_settings(settings_file(config))
    yield_processor(NICE)

    async def main(ending: Ending) -> None:
        async with contextlib.AsyncExitStack() as stack:
            client, beside, engine = stack.enter_context(_warehouse(settings))
            if engine is not None:
                from infra.sql.account import accounts_of
                from infra.sql.door import start_door

                users = accounts_of(settings.sql.users)
                await stack.enter_async_context(await start_door(engine, port=settings.sql.port, users=users))
            # Last in, first out: whatever ended it, the rest is closed in bounded time.
            stack.callback(ending.set)
            await copy(settings, client, ending, beside=beside)

    run_until_signal(main, grace_s=settings.worker.drain_s + STOP_S)


@contextlib.contextmanager
def _warehouse(settings: Settings) -> Iterator[tuple[Any, Any, Any]]:
    """A migrated client, a second one, and the engine where it is embedded."""
    from projections.clickhouse.migrate import migrate

    if settings.sql.url.startswith(EMBEDDED):
        from infra.sql.engine import Engine

        with Engine(Path(settings.sql.url.removeprefix(EMBEDDED))) as engine:
            with contextlib.closing(engine.client()) as client, contextlib.closing(engine.client()) as beside:
                migrate(client)
                yield client, beside, engine
        return
    from infra.sql.server import server

    cluster = settings.sql.cluster
    with (
        server(settings.sql.url, quorum=bool(cluster)) as client,
        server(settings.sql.url, quorum=bool(cluster)) as beside,
    ):
        migrate(client, cluster)
        yield client, beside, None


async def copy(
    settings: Settings, client: Any, stop: asyncio.Event, away_s: float = AWAY_S, *, beside: Any = None
) -> None:
    """Copy until `stop` is set. `beside`: a second client, for a second thread.

    Looks for a server that is away every `away_s`; raises OperationalError if it is to stop then.
    """
    from clickhouse_connect.driver.exceptions import OperationalError

    from projections.clickhouse.forecasts import Forecaster
    from projections.clickhouse.retention import Retention
    from projections.clickhouse.writer import Superseded, Writer
    from streams.chores import Chore
    from streams.codecs import codec_of
    from streams.sink import Sink
    from streams.topics import topics_of, verify_topics

    kafka = settings.kafka
    topics = topics_of(settings)
    await verify_topics(topics, settings)
    codec = await codec_of(kafka)
    chores = [Chore("budgets foretold", FORECAST_S, Forecaster(client).refresh)]
    if months := settings.sql.retention_months:
        chores.append(Chore("old months dropped", RETENTION_S, Retention(client, months).prune))
    while True:
        try:
            journal = await asyncio.to_thread(Writer, client, f"{topics.prefix}sink", beside)
            return await Sink(settings, topics, journal, codec, chores).run(stop)
        except Superseded as error:
            # What it holds is the other's to write; it stands by.
            log.warning("another sink took over", reason=str(error))
            continue
        except OperationalError:
            if stop.is_set():
                raise
        # Begun anew and not gone on with: a server that comes back may have lost what it had told us was written.
        log.warning("ClickHouse does not answer", again_in_s=away_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(away_s):
                await stop.wait()
