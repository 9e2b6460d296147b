"""Rollups rebuilt from the raw log, by a process that has the embedded engine to itself."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.settings import Settings

EMBEDDED = "chdb:"


def repaired(settings: "Settings") -> tuple[str, ...]:
    """Rebuild the rollups that `drift` names; their names.

    Raises OperationError where a sink has to do it: it runs, it left a batch unfinished, parts were lost, or the engine is a
    server, which does not tell whether a sink writes meanwhile.
    """
    from infra.sql.engine import Engine
    from infra.sql.errors import FolderHeld
    from projections.clickhouse.migrate import migrate
    from projections.clickhouse.writer import Writer
    from schemas.errors import OperationError
    from streams.topics import topics_of

    if not settings.sql.url.startswith(EMBEDDED):
        raise OperationError("On a ClickHouse server the sink repairs when it starts: restart `turnout sink`.")
    folder = Path(settings.sql.url.removeprefix(EMBEDDED))
    if not folder.is_dir():
        raise OperationError(f"{folder} holds no database: correct sql.url, or start `turnout sink`, which makes it.")
    try:
        engine = Engine(folder)
    except FolderHeld as held:
        raise OperationError(
            f"{held.folder} is open in process {held.owner}: a sink repairs when it starts, so restart it, "
            "or stop it and repair then."
        ) from None
    with engine, contextlib.closing(engine.client()) as client:
        migrate(client)
        writer = Writer(client, f"{topics_of(settings).prefix}sink")
        if writer.alert:
            raise OperationError(f"Start `turnout sink`, which repairs at the end: {writer.alert}.")
        last = writer.last_intent()
        if last is not None and not last.done:
            raise OperationError(
                "The last batch of the sink is unfinished: start `turnout sink`, which finishes it and repairs then."
            )
        rollups = writer.drifted()
        if rollups:
            writer.repair(rollups)
        return rollups
