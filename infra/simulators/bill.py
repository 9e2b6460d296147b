"""What the simulated providers saw and would charge: the outside truth that a router's own numbers are held against."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Call(NamedTuple):
    """One finished request; at_s is seconds since the simulators started, status 0 where none was sent."""

    at_s: float
    provider: str
    request_id: str
    attempt: str | None
    status: int
    outcome: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    probe: bool
    aborted: bool


@dataclass(slots=True)
class _Sums:
    requests: int = 0
    probes: int = 0
    aborted: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)


class Bill:
    """Sums by provider for ever, and the newest `limit` calls one by one."""

    __slots__ = ("_calls", "_sums")

    def __init__(self, providers: tuple[str, ...], limit: int = 200_000) -> None:
        if limit < 0:
            raise ValueError("the bill's limit must be 0 or more calls")
        self._sums = {name: _Sums() for name in providers}
        self._calls: deque[Call] = deque(maxlen=limit)

    def add(self, call: Call) -> None:
        """Count a finished request."""
        sums = self._sums[call.provider]
        sums.requests += 1
        sums.probes += call.probe
        sums.aborted += call.aborted
        sums.prompt_tokens += call.prompt_tokens
        sums.completion_tokens += call.completion_tokens
        sums.cached_tokens += call.cached_tokens
        sums.outcomes[call.outcome] += 1
        self._calls.append(call)

    def reset(self) -> None:
        """Forget every call."""
        self._sums = {name: _Sums() for name in self._sums}
        self._calls.clear()

    def shown(self, *, requests: bool = False) -> dict[str, Any]:
        """JSON-able: {"providers": {name: sums}}; with requests also "columns" and "requests" (rows)."""
        providers = {
            name: {
                "requests": sums.requests,
                "outcomes": dict(sums.outcomes),
                "probes": sums.probes,
                "aborted": sums.aborted,
                "prompt_tokens": sums.prompt_tokens,
                "completion_tokens": sums.completion_tokens,
                "cached_tokens": sums.cached_tokens,
            }
            for name, sums in self._sums.items()
        }
        shown: dict[str, Any] = {"providers": providers}
        if requests:
            shown["columns"] = list(Call._fields)
            shown["requests"] = [tuple(call) for call in self._calls]
        return shown
