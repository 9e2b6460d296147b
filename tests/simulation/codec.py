"""A codec that hands objects over: the real one has tests of its own, and the world's time is better spent on orders."""

from typing import Any


class ByReference:
    """Values are numbers of frozen events and snapshots. One codec a world."""

    def __init__(self) -> None:
        self._said: list[Any] = []

    def encode(self, event: Any) -> bytes:
        self._said.append(event)
        return b"%d" % (len(self._said) - 1)

    def decode(self, value: bytes) -> Any:
        return self._said[int(value)]

    def peek(self, value: bytes | None) -> type | None:
        """The class that the bytes name."""
        return None if value is None else type(self.decode(value))
