"""The embedded engine: one process owns the folder and gives out handles to it."""

import fcntl
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from xml.sax.saxutils import escape

import chdb
import clickhouse_connect
from clickhouse_connect.driver.client import Client

from infra.sql.errors import EngineUnavailable, FolderHeld, from_engine
from infra.sql.roles import policies_xml

DATABASE = "turnout"
_HERE = Path(__file__).parent


class Engine:
    """Owns `path`: `data/` (chDB's), `config.xml`, `users.xml` and `lock`.

    Raises `EngineUnavailable` when another process owns the folder, or when this process already runs
    chDB on another folder (it can run one at a time; a closed one makes room for the next).
    Whoever takes a handle or a client closes it before the engine: chDB stops with its last handle.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.path.mkdir(parents=True, exist_ok=True)
        self.data_path = self.path / "data"
        self._lock_file = _take_lock(self.path / "lock")
        self._guard = threading.Lock()
        self._closed = False
        try:
            config, users = self.path / "config.xml", self.path / "users.xml"
            users.write_text((_HERE / "users.xml").read_text().replace("@POLICIES@", policies_xml()))
            config.write_text((_HERE / "config.xml").read_text().replace("@USERS@", escape(str(users))))
            # chDB resolves relative folders against the current directory, so every handle gets this same path.
            self._owner = _connect(f"{self.data_path}?config-file={config}")
        except RuntimeError as error:
            os.close(self._lock_file)
            raise EngineUnavailable(
                f"chDB did not open {self.data_path}: close the engine this process has on another folder,"
                " or look at the folder's permissions"
            ) from error
        self.execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        version, self.timezone = self.execute("SELECT version(), timezone()").decode().split()
        self.version = version

    def execute(self, sql: str, params: Mapping[str, Any] | None = None) -> bytes:
        """Run one statement as the owner; its rows as TabSeparated bytes (empty for DDL). Raises `SqlError`."""
        with self._guard:
            try:
                result = self._owner.query(sql, "TabSeparated", params=dict(params or {}))
            except RuntimeError as error:
                raise from_engine(error) from None
            return bytes(result.bytes() or b"")

    def handle(self) -> Any:
        """A fresh `chdb.Connection` with its own settings and database (about 1 ms); the caller closes it."""
        if self._closed:
            raise EngineUnavailable(f"the engine on {self.path} is closed: open it again before asking it")
        return _connect(str(self.data_path))

    def client(self, database: str = DATABASE, **settings: Any) -> Client:
        """The owner's clickhouse-connect client, same calls as for a server; not for two threads at once."""
        if self._closed:
            raise EngineUnavailable(f"the engine on {self.path} is closed: open it again before asking it")
        return clickhouse_connect.get_client(
            interface="chdb", path=str(self.data_path), database=database, settings=settings or None
        )

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with self._guard:
            self._owner.close()
        os.close(self._lock_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _connect(target: str) -> Any:
    return chdb.connect(target)


def _take_lock(path: Path) -> int:
    """A descriptor that holds the folder until it is closed or the process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = ""
        with suppress(OSError):
            owner = os.read(descriptor, 20).decode(errors="replace").strip()
        os.close(descriptor)
        raise FolderHeld(str(path.parent), owner or "unknown") from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor
