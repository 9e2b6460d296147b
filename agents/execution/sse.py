"""Server-sent events out of bytes that arrive in any pieces."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Event(NamedTuple):
    """One event; `name` is "" where the stream gives none, `data` its data lines joined."""

    name: str
    data: bytes


@dataclass(slots=True)
class Events:
    """Reads a stream. Comments and empty events yield nothing; lines may end with LF, CR LF or CR."""

    _line: list[bytes] = field(default_factory=list)
    _data: list[bytes] = field(default_factory=list)
    _name: str = ""
    _begun: bool = False
    _after_cr: bool = False

    def feed(self, piece: bytes) -> list[Event]:
        """The events that these bytes complete."""
        if not piece:
            return []
        if not self._begun:
            self._begun = True
            piece = piece.removeprefix(b"\xef\xbb\xbf")
        if self._after_cr and piece[:1] == b"\n":
            piece = piece[1:]
        self._after_cr = piece.endswith(b"\r")
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in piece:
            self._line.append(piece)
            return []
        *lines, rest = piece.split(b"\n")
        lines[0] = b"".join((*self._line, lines[0]))
        self._line = [rest] if rest else []
        return [event for line in lines if (event := self._take(line)) is not None]

    def close(self) -> list[Event]:
        """The event that a clean end leaves without its blank line."""
        return self.feed(b"\n\n")

    def _take(self, line: bytes) -> Event | None:
        if not line:
            event = Event(self._name, b"\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return event
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        return None
