"""Errors of the engine, in ClickHouse's own words: a code, a name, a message, an HTTP status."""

import re

from schemas.errors import OperationError

_ENGINE_MESSAGE = re.compile(r"Code: (\d+)\. (?:DB::Exception: )?(.*)", re.DOTALL)
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]+)\)\s*(?:\(version [^)]*\))?[.\s]*$")
_NESTED = re.compile(r"^(?:Code: \d+\. DB::Exception: )+")
_VERSION = re.compile(r"\s*\(version [^)]*\)\.?")

ACCESS_DENIED = (497, "ACCESS_DENIED")
AUTHENTICATION_FAILED = (516, "AUTHENTICATION_FAILED")
NOT_IMPLEMENTED = (48, "NOT_IMPLEMENTED")
QUERY_IS_TOO_LARGE = (307, "TOO_MANY_BYTES")
READONLY = (164, "READONLY")
SYNTAX_ERROR = (62, "SYNTAX_ERROR")
TOO_MANY_QUERIES = (202, "TOO_MANY_SIMULTANEOUS_QUERIES")
UNKNOWN_FORMAT = (73, "UNKNOWN_FORMAT")

# As a ClickHouse server answers; what is not listed is a 500.
_HTTP_STATUS = {
    516: 403, 497: 403, 164: 403, 452: 403,
    60: 404, 81: 404, 46: 404, 47: 404,
    62: 400, 36: 400, 42: 400, 43: 400, 53: 400, 6: 400, 27: 400, 73: 400, 115: 400, 456: 400, 457: 400, 72: 400, 386: 400,
    307: 413, 159: 408, 48: 501, 202: 503,
}  # fmt: skip


class SqlError(OperationError):
    """A statement that was refused or that failed.

    `code` and `name` are ClickHouse's (497, "ACCESS_DENIED"); `str()` is one sentence.
    """

    def __init__(self, kind: tuple[int, str], message: str) -> None:
        super().__init__(message)
        self.code, self.name = kind

    @property
    def http_status(self) -> int:
        return _HTTP_STATUS.get(self.code, 500)

    @property
    def body(self) -> str:
        """What a ClickHouse server would send as the body of the answer."""
        return f"Code: {self.code}. DB::Exception: {self}. ({self.name})\n"


class EngineUnavailable(OperationError):
    """The engine or its door cannot start; the message says what to do."""


class FolderHeld(EngineUnavailable):
    """Another process has the folder open. `owner`: its process id as text, or "unknown"."""

    def __init__(self, folder: str, owner: str) -> None:
        super().__init__(f"{folder} is open in process {owner}: stop it, or ask it over its SQL port instead")
        self.folder, self.owner = folder, owner


def from_engine(error: Exception) -> SqlError:
    """The same error with the code and name that chDB wrote into its text."""
    text = str(error).strip()
    found = _ENGINE_MESSAGE.search(text)
    if found is None:
        return SqlError((1002, "UNKNOWN_EXCEPTION"), text.rstrip("."))
    message, name = found[2].strip(), "UNKNOWN_EXCEPTION"
    # A nested error carries its name twice.
    while (tail := _NAME.search(message)) is not None:
        name = tail[1]
        message = message[: tail.start()].strip()
    message = _VERSION.sub("", _NESTED.sub("", message))
    return SqlError((int(found[1]), name), message.rstrip(". "))
