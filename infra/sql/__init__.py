"""The embedded ClickHouse engine (chDB) and its read-only HTTP door."""

from infra.sql.door import Account, RunningDoor, start_door
from infra.sql.engine import Engine
from infra.sql.errors import SqlError

__all__ = ["Account", "Engine", "RunningDoor", "SqlError", "start_door"]
