"""Circuits that are not plainly closed, kept while their states are the same objects."""

from collections.abc import Mapping

from agents.routing.kernel.lookup import replaced
from schemas.state import CircuitState


class Troubles:
    """Owns the last circuits seen. `of` costs one comparison a deployment while nothing changed."""

    def __init__(self, ids: list[str]) -> None:
        self._ids = ids
        self._seen: list[CircuitState | None] = [None] * len(ids)
        self._forced: Mapping[str, str] = {}
        self._found: list[tuple[int, CircuitState]] = []

    def of(self, circuits: dict[str, CircuitState], forced: Mapping[str, str]) -> list[tuple[int, CircuitState]]:
        """(position, circuit) of those open, half-open or forced; a command counts before a fold has seen it."""
        if forced == self._forced and not replaced(circuits, self._ids, self._seen):
            return self._found
        states = list(map(circuits.get, self._ids))
        found = []
        for position, (name, state) in enumerate(zip(self._ids, states, strict=True)):
            command = forced.get(name, "")
            if state is None and command:
                state = CircuitState(status="open" if command == "open" else "closed", forced=command)
            if state is not None and (state.status != "closed" or state.forced):
                found.append((position, state))
        self._seen, self._forced = states, dict(forced)
        # The old list where nothing that matters changed: what is derived from it stays known by its identity.
        if found != self._found:
            self._found = found
        return self._found
