"""The embedded ClickHouse engine (chDB) and its read-only HTTP door."""

from infra.sql.door import Account, RunningDoor, start_door
from infra.sql.engine import Engine
from infra.sql.errors import SqlError
from infra.sql.roles import ADMIN, ANALYST, Role, parse_role

__all__ = ["ADMIN", "ANALYST", "Account", "Engine", "Role", "RunningDoor", "SqlError", "parse_role", "start_door"]
