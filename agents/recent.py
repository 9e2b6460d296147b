"""A mapping that forgets what was put into it a window ago."""

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")
PARTS = 4


class Recent(Generic[K, V]):
    """Entries count for `window` after they were put; times are whole numbers of any unit, and may come out of order.

    They stand in a few dicts by when they came, each of which goes as a whole: one dict that loses its oldest entry for each
    new one keeps room for three windows of them, and is built anew beside itself every two.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self._parts: list[tuple[int, dict[K, tuple[int, V]]]] = []
        """Newest first, each with the time from which on it takes no more."""

    def get(self, key: K, now: int) -> V | None:
        """What was put last under this key, within the window before `now`."""
        for _, part in self._parts:
            if (found := part.get(key)) is not None:
                at, value = found
                return value if now - at <= self.window else None
        return None

    def put(self, key: K, value: V, now: int) -> None:
        """Remember it from `now` on."""
        parts = self._parts
        if not parts or now >= parts[0][0]:
            parts.insert(0, (now + max(1, self.window // PARTS), {}))
            while parts[-1][0] < now - self.window:
                parts.pop()
        parts[0][1][key] = now, value

    def keep(self, wanted: Callable[[V], bool]) -> None:
        """Forget all other values."""
        self._parts = [
            (until, {key: entry for key, entry in part.items() if wanted(entry[1])}) for until, part in self._parts
        ]

    def __len__(self) -> int:
        """Entries held, those that no longer count included: at most what was put in one and a half windows."""
        return sum(len(part) for _, part in self._parts)
