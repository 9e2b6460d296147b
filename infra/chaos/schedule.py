"""Schedules: drawn from a seed, or named. Pure: the same seed gives the same faults at the same moments."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.chaos.faults import Step

FIRST_S = 4.0
GAPS_S = (5.0, 16.0)
MAX_WORKERS = 4
OUTAGE_KINDS = 6
ROUND_S = 45.0
"""A worker is frozen, replaced and back, and its replacement gone."""


@dataclass(frozen=True, slots=True)
class Draw:
    """How often a fault is drawn, for how long it lasts, of how many it is, and how long nothing else happens after it."""

    weight: int
    seconds: tuple[float, float] = (1.0, 4.0)
    count: tuple[int, int] = (0, 0)
    rest_s: float = 0.0


# A freeze is longer than the session timeout of 10 s; a blink is shorter than the lease of 5 s, or ends after it.
DRAWS: Mapping[str, Draw] = {
    "kill-worker": Draw(6),
    "terminate-worker": Draw(3),
    "freeze-worker": Draw(3, (12.0, 20.0)),
    "blink-worker": Draw(3, (1.0, 8.0)),
    "kill-projector": Draw(4),
    "terminate-projector": Draw(2),
    "freeze-projector": Draw(2, (12.0, 20.0)),
    "kill-sink": Draw(4),
    "terminate-sink": Draw(1),
    "kill-broker": Draw(2, (1.0, 5.0), rest_s=15.0),
    "freeze-broker": Draw(2, (3.0, 25.0), rest_s=25.0),
    "scale": Draw(3, count=(2, MAX_WORKERS)),
    "same-ids-twice": Draw(4, count=(20, 200)),
    "delete-offsets": Draw(1, rest_s=20.0),
    "compact-state": Draw(3, (5.0, 10.0)),
    "provider-outage": Draw(4, (5.0, 20.0), count=(0, OUTAGE_KINDS - 1)),
    "set-budget": Draw(2, count=(0, 100)),
    "cold-start": Draw(1, rest_s=15.0),
    "full-disk-sink": Draw(2, (4.0, 10.0), rest_s=10.0),
    "slow-disk-sink": Draw(2, (8.0, 20.0), rest_s=10.0),
    "full-disk-broker": Draw(1, (3.0, 6.0), rest_s=20.0),
}


def drawn(seed: int, seconds: float) -> tuple[Step, ...]:
    """Faults for so many seconds of traffic."""
    rng = random.Random(seed)
    names = list(DRAWS)
    weights = [draw.weight for draw in DRAWS.values()]
    at, steps = FIRST_S, []
    while at < seconds:
        name = rng.choices(names, weights)[0]
        draw = DRAWS[name]
        step = Step(
            round(at, 1), name, round(rng.random(), 3), round(rng.uniform(*draw.seconds), 1), rng.randint(*draw.count)
        )
        steps.append(step)
        at += rng.uniform(*GAPS_S) + draw.rest_s
    return tuple(steps)


@dataclass(frozen=True, slots=True)
class Named:
    """A plan by name. `steps`: from the length of the traffic in seconds. `owners_stay`: no worker loses a partition."""

    says: str
    steps: Callable[[float], tuple[Step, ...]]
    owners_stay: bool = False
    overrides: Mapping[str, Any] = field(default_factory=dict)


def _at(fault: str, *shares: float, seconds: float = 2.0, count: int = 0) -> Callable[[float], tuple[Step, ...]]:
    """The same fault at these shares of the traffic."""
    return lambda length: tuple(
        Step(round(length * share, 1), fault, number / len(shares), seconds, count)
        for number, share in enumerate(shares)
    )


def _scaled(length: float) -> tuple[Step, ...]:
    return (
        Step(1.0, "slow-providers", seconds=length, count=20),
        Step(length / 4, "scale", count=4),
        Step(length * 0.6, "scale", count=3),
    )


def _taken_over(length: float) -> tuple[Step, ...]:
    """The broker dies about when the session of a frozen worker ends: before, while and after others take its place."""
    after_s = (9.7, 9.0, 10.4, 8.0, 11.2)
    rounds = min(len(after_s), max(1, int(length / ROUND_S)))
    steps = []
    for number in range(rounds):
        at = length * (number + 0.2) / rounds
        steps.append(Step(round(at, 1), "freeze-worker", number / rounds, 18.0))
        steps.append(Step(round(at + after_s[number], 1), "kill-broker", seconds=2.6))
    return tuple(steps)


def _stale_projector(length: float) -> tuple[Step, ...]:
    return (
        Step(length * 0.15, "provider-outage", 0.0, 12.0, 0),
        Step(length * 0.2, "freeze-projector", 0.0, 15.0),
        Step(length * 0.2 + 18, "compact-state", seconds=6.0),
        Step(length * 0.2 + 26, "cold-start", seconds=1.0),
    )


def _budgets(length: float) -> tuple[Step, ...]:
    """Another budget every tenth of the traffic, while the projectors are killed."""
    changes = tuple(Step(round(length * tenth / 10, 1), "set-budget", count=tenth * 10) for tenth in range(1, 10))
    kills = _at("kill-projector", 0.35, 0.65)(length)
    return tuple(sorted((*changes, *kills), key=lambda step: step.at_s))


def _at_random(fault: str, low_s: float, high_s: float) -> Callable[[float], tuple[Step, ...]]:
    """kill -9 of a process at random moments, back at once."""

    def steps(length: float) -> tuple[Step, ...]:
        rng = random.Random(length)
        at, found = 3.0, []
        while at < length:
            found.append(Step(round(at, 2), fault, rng.random(), 0.2))
            at += rng.uniform(low_s, high_s)
        return tuple(found)

    return steps


PLANS: Mapping[str, Named] = {
    "quiet": Named("nothing happens", lambda _: (), owners_stay=True),
    "kill-worker": Named("kill -9 of a worker, once", _at("kill-worker", 0.3)),
    "kill-worker-twice": Named("kill -9 of a worker, twice", _at("kill-worker", 0.25, 0.6)),
    "sigterm": Named("SIGTERM of a worker", _at("terminate-worker", 0.4)),
    "freeze-worker": Named(
        "SIGSTOP of a worker for longer than its session, a replacement, SIGCONT",
        _at("freeze-worker", 0.3, seconds=18.0),
    ),
    "take-over": Named("SIGSTOP of a worker, and kill -9 of the broker about when others take its place", _taken_over),
    "kill-broker": Named("kill -9 of the broker for 3 s", _at("kill-broker", 0.4, seconds=3.0)),
    "kill-brokers": Named(
        "kill -9 of the broker three times for 8 s; of several, of each in its turn",
        _at("kill-broker", 0.2, 0.45, 0.7, seconds=8.0),
    ),
    "freeze-broker": Named("SIGSTOP of the broker for 25 s", _at("freeze-broker", 0.4, seconds=25.0)),
    "kill-sink": Named("kill -9 of the sink", _at("kill-sink", 0.3, 0.6), owners_stay=True),
    "kill-sinks": Named(
        "kill -9 of the sink every 3 to 14 seconds: some die before the group lets them write",
        _at_random("kill-sink", 3.0, 14.0),
        owners_stay=True,
        overrides={"worker": {"session_timeout_s": 6}},
    ),
    "same-ids-twice": Named(
        "the same ids are published twice", _at("same-ids-twice", 0.2, 0.4, 0.6, 0.8, count=150), owners_stay=True
    ),
    "scale": Named(
        "workers 2 -> 4 -> 3 under calls of 20 s",
        _scaled,
        owners_stay=False,
        # A rebalance waits for calls of 20 s, and a request that waited for it makes one of its own.
        overrides={
            "worker": {"drain_s": 30, "rebalance_timeout_s": 60},
            "routing": {"default_deadline_ms": 120_000},
        },
    ),
    "kill-at-random": Named(
        "kill -9 of a worker every 8 to 14 seconds",
        # Between call, events, answer and commit. A dead worker's partitions move once its session has timed out: a kill that
        # comes earlier meets nobody at work.
        _at_random("kill-worker", 8.0, 14.0),
        overrides={"worker": {"session_timeout_s": 6, "drain_s": 5}},
    ),
    "stale-projector": Named(
        "SIGSTOP of a projector, takeover, SIGCONT, compaction of llm.state, cold start", _stale_projector
    ),
    "set-budget": Named("a budget is changed nine times through llm.control", _budgets, owners_stay=True),
    "full-disk-sink": Named(
        "the sink's disk is full, twice for 8 s", _at("full-disk-sink", 0.25, 0.6, seconds=8.0), owners_stay=True
    ),
    "full-disk-broker": Named("the broker's disk is full for 5 s", _at("full-disk-broker", 0.4, seconds=5.0)),
    "slow-disk-sink": Named(
        "the sink's disk stands still again and again for 20 s",
        _at("slow-disk-sink", 0.3, seconds=20.0),
        owners_stay=True,
    ),
    "delete-offsets": Named("the groups' offsets are deleted", _at("delete-offsets", 0.5, seconds=0.0)),
}
