"""The truth of the decision simulator: deployments whose speed, errors, prices and rate limits drift.

Each deployment serves a model of its own, so that strategies are measured here and balancers in simulator_balance.py.
Utilities have the scales of agents/routing/utility.py. A price that changes is a catalog that changes, as it is live;
quality differs from what the catalog claims, and stays: feedback is believed for weeks, a run takes minutes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.routing.estimates import MILLION
from agents.routing.quality import QUALITY_SPREAD
from agents.routing.utility import DECADES, REFERENCE_NANO_USD, TARGET_MS
from schemas.policy import Configuration
from schemas.units import usd_to_nano

Floats = NDArray[np.float64]
Random = np.random.Generator
DEPLOYMENTS = 20
TASKS = ("conversation", "code", "analysis", "math")
MIX = (0.45, 0.25, 0.2, 0.1)
LENGTHS = (220.0, 500.0, 350.0, 150.0)
SIZES = (60.0, 400.0, 1_200.0, 100.0)
"""Usual tokens in by task."""
WEIGHTS = {"cost": 0.35, "speed": 0.2, "quality": 0.3, "reliability": 0.15}
TIME_NOISE, LENGTH_NOISE = 0.35, 0.3
"""One standard deviation of the log of a call's time and length."""
SCORE_SURENESS = 6.0
"""Of the Beta that a score is drawn from: 0.17 around 0.7."""
THROTTLED = 0.02
"""The success of calls above the provider's own limit."""
NODES, HEAVINESS = np.polynomial.hermite_e.hermegauss(7)
HEAVINESS = HEAVINESS / HEAVINESS.sum()


@dataclass(slots=True)
class Truth:
    """What is so, by deployment: `first_ms`, `token_ms` (median), `success`, `limit` (calls a minute); `quality` (task,
    deployment); `length` (task, deployment), mean tokens of an answer. `document`: what `configuration` was read from.
    """

    document: dict[str, Any]
    configuration: Configuration
    names: tuple[str, ...]
    price_in: Floats
    price_out: Floats
    first_ms: Floats
    token_ms: Floats
    success: Floats
    limit: Floats
    quality: Floats
    length: Floats

    def cost(self, size_in: float, tokens_out: Any) -> Floats:
        """Nano-USD charged for a call, by deployment."""
        cost: Floats = (self.price_in * size_in + self.price_out * tokens_out) / MILLION
        return cost

    def utility(self, task: int, size_in: float, throttled: Any = False) -> Floats:
        """Expected utility of a request, by deployment. `throttled`: above their own limit now."""
        success = np.where(throttled, THROTTLED, self.success)
        length = self.length[task]
        median = self.first_ms + self.token_ms * length
        speed = (1 / (1 + median[:, None] * np.exp(TIME_NOISE * NODES) / TARGET_MS)) @ HEAVINESS
        utility: Floats = utility_of(cost_utility(self.cost(size_in, length)), speed, self.quality[task], success)
        return utility


def cost_utility(nano_usd: Any) -> Any:
    """As agents/routing/utility.py scales it, before failures."""
    return 0.5 - np.log10(np.maximum(nano_usd, 1.0) / REFERENCE_NANO_USD) / DECADES


def utility_of(cost: Any, speed: Any, quality: Any, success: Any) -> Any:
    """Utility of parts on their scales. A success costs 1 / success calls."""
    return (
        WEIGHTS["cost"] * (cost + np.log10(success) / DECADES)
        + WEIGHTS["speed"] * speed
        + WEIGHTS["quality"] * quality
        + WEIGHTS["reliability"] * success
    )


def world(rng: Random, size: int = DEPLOYMENTS) -> Truth:
    """A drawn market: better models are dearer and slower, roughly; the catalog's quality is near the truth."""
    grade = rng.uniform(0, 1, size)
    price_out = 10 ** (-0.6 + 1.7 * grade + rng.normal(0, 0.2, size))
    price_in = price_out * rng.uniform(0.15, 0.35, size)
    claimed = np.clip(0.45 + 0.4 * grade + rng.normal(0, 0.06, (len(TASKS), size)), 0.05, 0.98)
    names = tuple(f"d{k:02}" for k in range(size))
    limits = np.where(rng.uniform(size=size) < 0.5, rng.integers(10, 40, size), 600).astype(np.float64)
    document: dict[str, Any] = {
        "circuit": {"probe_interval_s": 0},
        "catalog": {
            "models": [
                {
                    "id": f"m{k:02}", "max_output_tokens": 16_000,
                    "price_usd_per_million": {"input": float(price_in[k]), "output": float(price_out[k])},
                    "quality": {task: float(claimed[t, k]) for t, task in enumerate(TASKS)},
                }
                for k in range(size)
            ],
            "deployments": [
                {"id": name, "provider": "openai_compatible", "model": f"m{k:02}", "base_url": "http://127.0.0.1:1",
                 "limits": {"requests_per_minute": int(limits[k])}}
                for k, name in enumerate(names)
            ],
        }
    }  # fmt: skip
    configuration = Configuration.model_validate(document)
    return Truth(
        document=document,
        configuration=configuration,
        names=names,
        price_in=np.array([float(usd_to_nano(price)) for price in price_in]),
        price_out=np.array([float(usd_to_nano(price)) for price in price_out]),
        first_ms=np.exp(rng.normal(math.log(400), 0.5, size)),
        token_ms=np.exp(rng.normal(math.log(8), 0.5, size) + 0.6 * (grade - 0.5)),
        success=rng.beta(40, 1.5, size),
        limit=limits,
        quality=np.clip(claimed + rng.normal(0, QUALITY_SPREAD, claimed.shape), 0.02, 0.99),
        length=np.array(LENGTHS)[:, None] * np.exp(rng.normal(0, 0.2, (len(TASKS), size))),
    )


@dataclass(frozen=True, slots=True)
class Change:
    """At `second` a column of the truth (`field`) is multiplied by `factor` at a deployment."""

    second: int
    field: str
    place: int
    factor: float


def drift(rng: Random, seconds: int, size: int = DEPLOYMENTS) -> list[Change]:
    """Incidents that pass (slow, failing, throttled) and prices that stay, in order."""
    changes = []
    draw: Callable[[], float]
    for place in range(size):
        for field, every_s, lasts_s, draw in (
            ("first_ms", 1_200, 300, lambda: rng.uniform(2, 6)),
            ("token_ms", 1_200, 300, lambda: rng.uniform(1.5, 4)),
            ("success", 1_200, 240, lambda: rng.uniform(0.3, 0.8)),
            ("limit", 1_200, 300, lambda: rng.uniform(0.2, 0.6)),
            ("price", 1_500, 0, lambda: 10 ** rng.normal(0, 0.3)),
        ):
            second = rng.exponential(every_s)
            while second < seconds:
                by = float(draw())
                changes.append(Change(int(second), field, place, by))
                if lasts_s:
                    changes.append(Change(int(second + lasts_s), field, place, 1 / by))
                second += lasts_s + rng.exponential(every_s)
    return sorted(changes, key=lambda change: change.second)


def apply(truth: Truth, change: Change) -> None:
    """Make the change."""
    if change.field == "price":
        truth.price_in[change.place] *= change.factor
        truth.price_out[change.place] *= change.factor
        prices = truth.document["catalog"]["models"][change.place]["price_usd_per_million"]
        prices |= {name: price * change.factor for name, price in prices.items()}
        truth.configuration = Configuration.model_validate(truth.document)
    else:
        getattr(truth, change.field)[change.place] *= change.factor


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one call. `retry_at`: when a throttled deployment has room again (microseconds), else 0. `score`: of the answer.

    `circuit_epoch`, `trial`: as the attempt was sent.
    """

    task: int
    place: int
    succeeded: bool
    retry_at: int
    ms: float
    first_ms: float
    tokens_in: int
    tokens_out: int
    score: float
    circuit_epoch: int
    trial: bool


def call(
    truth: Truth, task: int, place: int, size_in: int, retry_at: int, rng: Random, epoch: int = 0, trial: bool = False
) -> Outcome:
    """What becomes of one call now."""
    late, long = rng.standard_normal(2).tolist()
    sound = truth.quality.item(task, place)
    score = rng.beta(SCORE_SURENESS * sound, SCORE_SURENESS * (1 - sound))
    tokens_out = max(1, round(truth.length.item(task, place) * math.exp(LENGTH_NOISE * long - LENGTH_NOISE**2 / 2)))
    stretch = math.exp(TIME_NOISE * late)
    first_ms = truth.first_ms.item(place) * stretch
    ms = first_ms + truth.token_ms.item(place) * tokens_out * stretch
    if retry_at or rng.random() > truth.success.item(place):
        return Outcome(task, place, False, retry_at, 100.0 if retry_at else ms, 0.0, size_in, 0, 0.0, epoch, trial)
    return Outcome(task, place, True, 0, ms, first_ms, size_in, tokens_out, score, epoch, trial)
