"""Runs of the decision simulator: a world that stands still, one that drifts, and how far confidence can be believed."""

import heapq
from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, count

import numpy as np
import orjson

from agents.routing.decide import Decision, decide
from agents.routing.view import RoutingView
from infra.bench.simulator_log import Log
from infra.bench.simulator_world import MIX, SIZES, TASKS, WEIGHTS, Outcome, Random, Truth, apply, call, drift, world
from schemas.inforce import InForce
from schemas.requests import ChatRequest, parse_request
from schemas.units import MICROS_PER_S

START = 1_790_000_040_000_000
MINUTE = 60 * MICROS_PER_S
PATIENCE = 600 * MICROS_PER_S
CLOSE = 0.01
"""A decision is optimal whose true expected utility is within 1 % of the best one's."""
STATIC = ("cost", "speed", "quality", "reliability", "load_balanced", "weighted")


class Unlimited:
    """No money is counted."""

    def spent(self, scope: str, period: str, now: int) -> int:
        return 0

    def reserved(self, scope: str) -> int:
        return 0


def view_of(truth: Truth) -> RoutingView:
    """What a worker that has seen nothing knows."""
    return RoutingView(
        inforce=InForce(configuration=truth.configuration), circuits={}, health={}, spend=Unlimited(), in_flight={},
        cooling={}, out_of_service={}, turn=0, turns={},
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with its task (index of TASKS) and its true tokens in."""

    request: ChatRequest
    task: int
    size_in: int


POOL = 256
UP_TO = tuple(accumulate(MIX))[:-1]
"""Different requests of a strategy: what is parsed again and again is not what is measured."""


@lru_cache(maxsize=16)
def pool(strategy: str) -> tuple[Asked, ...]:
    """Requests of the mix."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(POOL):
        task, words = drawn(rng)
        body = {
            "messages": [{"role": "user", "content": "abc " * words}],
            "routing": {"strategy": strategy, "task": TASKS[task], "weights": WEIGHTS},
        }
        made.append(Asked(parse_request(orjson.dumps(body), max_bytes=10**6), task, words))
    return tuple(made)


def drawn(rng: Random) -> tuple[int, int]:
    """Task and tokens in."""
    # rng.choice with shares takes 60 us, a tenth of a whole call.
    task = bisect_right(UP_TO, rng.random())
    return task, max(1, int(SIZES[task] * np.exp(0.5 * rng.standard_normal())))


def asked(rng: Random, strategy: str) -> Asked:
    """One of the pool."""
    return pool(strategy)[int(rng.integers(POOL))]


def decided(given: Asked, view: RoutingView, now: int, seed: int) -> Decision:
    return decide(given.request, "simulated", view, now=now, deadline_at=now + PATIENCE, seed=seed)


@dataclass(frozen=True, slots=True)
class Judged:
    """Of decisions in a row: `utility` of what was chosen, `best` of what could be had, `confidence`, `right`."""

    utility: np.ndarray
    best: np.ndarray
    confidence: np.ndarray
    right: np.ndarray

    @property
    def regret(self) -> float:
        """Mean utility lost against the best that could be had."""
        return float((self.best - self.utility).mean())

    @property
    def optimal(self) -> float:
        """Share of decisions within 1 % of the best."""
        return float((self.utility >= self.best - CLOSE * np.abs(self.best)).mean())


def judged(rows: list[tuple[float, float, float, bool]]) -> Judged:
    utility, best, confidence, right = map(np.array, zip(*rows, strict=True))
    return Judged(utility, best, confidence, right)


def taught(truth: Truth, rng: Random, outcomes: int) -> RoutingView:
    """A view after `outcomes` calls at every deployment, spread over the last fifteen minutes."""
    view = view_of(truth)
    log = Log(truth, view.inforce, START)
    now, size = START, len(truth.names)
    for number in range(outcomes):
        now = START + number * 14 * 60 * MICROS_PER_S // max(1, outcomes)
        log.advance(now)
        for place in range(size):
            task, words = drawn(rng)
            log.tell(call(truth, task, place, words, 0, rng), now)
    return log.seen_by(view, now)


def stationary(seed: int, strategy: str, outcomes: int, requests: int) -> Judged:
    """Decisions where the truth stands still and `outcomes` calls of each deployment are known."""
    rng = np.random.default_rng((seed, 1))
    truth = world(rng)
    view = taught(truth, rng, outcomes)
    now = START + 14 * 60 * MICROS_PER_S
    rows = []
    for _ in range(requests):
        given = asked(rng, strategy)
        decision = decided(given, view, now, int(rng.integers(1 << 62)))
        utility = truth.utility(given.task, given.size_in)
        rows.append(_row(truth, decision, utility))
    return judged(rows)


def _row(truth: Truth, decision: Decision, utility: np.ndarray) -> tuple[float, float, float, bool]:
    """The best is that of the candidates: who is left out is a matter of filters, which are no strategy's."""
    chosen = utility.item(truth.names.index(decision.plan[0].deployment))
    best = float(utility[list(decision.candidates)].max())
    return chosen, best, decision.confidence, chosen >= best


def drifting(seed: int, strategy: str, requests: int, seconds: int) -> Judged:
    """Decisions while the truth drifts, each taught by what came of those before it. Every strategy sees the same drift."""
    world_rng, rng = np.random.default_rng((seed, 2)), np.random.default_rng((seed, 3))
    truth = world(world_rng)
    changes = drift(world_rng, seconds)[::-1]
    view = view_of(truth)
    log = Log(truth, view.inforce, START)
    under_way: list[tuple[int, int, Outcome]] = []
    order = count()
    in_flight = dict.fromkeys(truth.names, 0)
    cooling: dict[str, int] = {}
    trials: set[str] = set()
    recent: list[list[int]] = [[] for _ in truth.names]
    position = {name: place for place, name in enumerate(truth.names)}
    rows = []
    for number in range(requests):
        now = START + number * seconds * MICROS_PER_S // requests
        while changes and START + changes[-1].second * MICROS_PER_S <= now:
            apply(truth, changes.pop())
        while under_way and under_way[0][0] <= now:
            ended, _, outcome = heapq.heappop(under_way)
            log.advance(ended)
            log.tell(outcome, ended)
            name = truth.names[outcome.place]
            in_flight[name] -= 1
            trials -= {name} if outcome.trial else set()
            if outcome.retry_at:
                cooling[name] = outcome.retry_at
        log.advance(now)
        if log.inforce.configuration is not truth.configuration:
            log.inforce = InForce(configuration=truth.configuration)
        view = log.seen_by(view, now)
        given = asked(rng, strategy)
        seen = replace(view, in_flight=in_flight, cooling=cooling, trials=trials)
        decision = decided(given, seen, now, int(rng.integers(1 << 62)))
        for calls in recent:
            while calls and calls[0] <= now - MINUTE:
                calls.pop(0)
        full = np.array([len(calls) for calls in recent]) >= truth.limit
        rows.append(_row(truth, decision, truth.utility(given.task, given.size_in, full)))
        # The plan is tried in its order until a call succeeds.
        at = now
        for step in decision.plan:
            place = position[step.deployment]
            throttled = len(recent[place]) >= truth.limit.item(place)
            # What a provider turns away does not count against its limit, and it says when there is room again.
            retry_at = recent[place][0] + MINUTE if throttled else 0
            if not throttled:
                recent[place].append(at)
            circuit = log.circuit(step.deployment)
            trial = circuit is not None and circuit.status == "half_open"
            trials |= {step.deployment} if trial else set()
            epoch = circuit.epoch if circuit else 0
            outcome = call(truth, given.task, place, given.size_in, retry_at, rng, epoch, trial)
            in_flight[step.deployment] += 1
            at += int(outcome.ms * 1_000)
            heapq.heappush(under_way, (at, next(order), outcome))
            if outcome.succeeded:
                break
    return judged(rows)


def calibrating(seed: int, worlds: int) -> Judged:
    """Decisions of `weighted` and `adaptive` in many worlds that stand still, known from none to many outcomes."""
    rng = np.random.default_rng((seed, 4))
    rows = []
    for number in range(worlds):
        truth = world(rng)
        outcomes = (0, 3, 10, 30, 100)[number % 5]
        view = taught(truth, rng, outcomes)
        for strategy in ("weighted", "adaptive"):
            for _ in range(4):
                given = asked(rng, strategy)
                utility = truth.utility(given.task, given.size_in)
                decision = decided(given, view, START + 14 * 60 * MICROS_PER_S, int(rng.integers(1 << 62)))
                rows.append(_row(truth, decision, utility))
    return judged(rows)
