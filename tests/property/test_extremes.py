"""A number in the configuration is refused, or what is made of it can be written to the log and read back."""

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from decide_world import BIG, LOCAL, MINI_EU, MINI_US, MODELS, NOW, decided, event_of, request, view
from pydantic import BaseModel, ValidationError

from schemas.codec import Codec
from schemas.errors import RequestError
from schemas.events import ConfigurationApplied, Event
from schemas.inforce import InForce, apply_control, digest_of, document_of
from schemas.numbers import MOST_TOKENS
from schemas.policy import Configuration, StrategyName

EXTREMES = (
    -1, 0, 1, 1e-320, 1e-9, 0.5, 1e6, 1e9, 1e9 + 1, 1e15, 1e300, 2**31, 2**63 - 1, 2**63, 10**30, math.inf, -math.inf, math.nan,
)  # fmt: skip
PRICES = {"input": 0.1, "output": 0.4, "cache_read": 0.01, "cache_write": 0.2}
WEIGHTS = {"cost": 0.6, "quality": 0.4}
DOCUMENT: dict[str, Any] = {
    "catalog": {
        "models": [{**model, "max_output_tokens": 4_000, "price_usd_per_million": PRICES} for model in MODELS],
        "deployments": [
            {
                **deployment, "weight": 1.0, "limits": {"requests_per_minute": 60, "tokens_per_minute": 9_000, "concurrency": 4},
                "timeouts": {"connect_s": 2, "first_byte_s": 30, "between_chunks_s": 15, "total_s": 120},
            }
            for deployment in (MINI_EU, MINI_US, BIG, LOCAL)
        ],
    },
    "routing": {
        "strategy": "weighted", "balancer": "weighted_round_robin", "cost_strategy": "arbitrage", "max_attempts": 4,
        "default_deadline_ms": 60_000, "weights": WEIGHTS, "by_task": {"code": {"min_quality": 0.1, "weights": WEIGHTS}},
    },
    "circuit": {
        "failure_threshold": 5, "success_threshold": 3, "open_s": 60, "max_open_s": 300, "probe_interval_s": 5, "window_s": 30,
        "minimum_calls": 20, "failure_ratio": 0.5, "slow_ratio": 0.8, "slow_call_s": 30,
    },
    "budgets": [{"scope": "tenant:acme", "period": "day", "limit_usd": 5, "thresholds": [50, 95]}],
    "sla": [
        {"metric": "latency_p95_ms", "target": 5_000, "warning": 8_000, "critical": 15_000, "window_s": 900,
         "minimum_sample": 20},
    ],
    "tenants": [{"id": "acme", "max_in_flight": 10, "share": 0.5, "weights": WEIGHTS}],
    "alerts": {"escalate_after_s": 300, "webhooks": [{"url": "http://127.0.0.1:1", "timeout_s": 5, "max_attempts": 8}]},
}  # fmt: skip
Path = tuple[str | int, ...]


def numbers(node: Any, path: Path = ()) -> Iterator[Path]:
    """Where a number stands."""
    if isinstance(node, dict | list):
        for key, item in node.items() if isinstance(node, dict) else enumerate(node):
            yield from numbers(item, (*path, key))
    elif isinstance(node, int | float):
        yield path


def replaced(path: Path, value: Any) -> dict[str, Any]:
    """The document with another value there."""
    document = copy.deepcopy(DOCUMENT)
    node: Any = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return document


def test_every_number_of_the_configuration_is_in_the_document() -> None:
    Configuration.model_validate(DOCUMENT)
    wanted = {
        (model.__name__, name)
        for model in _models(Configuration)
        for name, field in model.model_fields.items()
        if any(kind in str(field.annotation) for kind in ("int", "float")) and "Literal" not in str(field.annotation)
    }
    given = {path[-1] if isinstance(path[-1], str) else path[-2] for path in numbers(DOCUMENT)}
    named = {"quality": "conversation", "weights": "cost"}
    assert {name for _, name in wanted if named.get(name, name) not in given} == set()


def _models(model: type) -> Iterator[type]:
    def inside(annotation: Any) -> Iterator[type]:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _models(annotation)
        for part in get_args(annotation):
            yield from inside(part)

    yield model
    for field in model.model_fields.values():  # type: ignore[attr-defined]
        yield from inside(field.annotation)


@pytest.mark.parametrize("path", sorted(set(numbers(DOCUMENT)), key=str), ids=lambda path: ".".join(map(str, path)))
def test_an_extreme_number_is_refused_or_harmless(path: Path) -> None:
    codec = Codec()
    for extreme in EXTREMES:
        try:
            configuration = Configuration.model_validate(replaced(path, extreme))
        except ValidationError:
            continue
        document = document_of(configuration)
        written = codec.encode(
            ConfigurationApplied(
                event_id="configuration",
                occurred_at=NOW,
                worker="",
                document=document,
                digest=digest_of(document),
                author="me",
            )
        )
        read = codec.decode(written)
        assert isinstance(read, Event)
        inforce = apply_control(InForce(), 0, read)
        assert inforce.configuration == configuration, extreme
        assert all(_fits(budget.limit_nano_usd) for budget in configuration.budgets), extreme
        for model in configuration.catalog.models:
            assert all(_fits(price * MOST_TOKENS // 1_000_000) for price in model.price_usd_per_million.nano), extreme
        for target in configuration.sla:
            assert all(_fits(level * 1e6) for level in (target.target, target.warning, target.critical) if level), (
                extreme
            )
        _decide(configuration)


def _fits(number: float) -> bool:
    return -(2**63) <= number < 2**63


def _decide(configuration: Configuration) -> None:
    """By every strategy, and what the log says of it has numbers that can be read."""
    inforce = InForce(offset=1, configuration=configuration, budgets=configuration.budgets)
    for strategy in get_args(StrategyName):
        try:
            decision = decided(replace(view(), inforce=inforce), request(routing={"strategy": strategy}))
        except RequestError:
            # Nobody has a window that small, say.
            continue
        event = event_of(decision)
        assert np.isfinite(np.frombuffer(event.estimates, "<f4")).all(), strategy
        assert math.isfinite(event.confidence), strategy
        assert all(_fits(nano) for nano in decision.reserve_nano_usd.values()), strategy
