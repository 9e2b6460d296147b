"""A small catalog and its view, requests, and what a decision said of them."""

from typing import Any

import orjson
import pytest

from agents.routing.decide import Decision, decide
from agents.routing.view import RoutingView
from projections import histogram
from schemas.codec import Codec
from schemas.errors import RequestError
from schemas.events import RouteDecided
from schemas.ids import Source
from schemas.inforce import InForce
from schemas.policy import Configuration
from schemas.requests import ChatRequest, parse_request
from schemas.state import CircuitState, HealthBucket, HealthState
from schemas.units import MICROS_PER_S

NOW = 1_790_000_000_000_000
MINUTE = NOW // (60 * MICROS_PER_S)
OPEN = CircuitState(status="open", open_until=NOW + 41 * MICROS_PER_S, last_failed_at=NOW - 1)
HALF_OPEN = CircuitState(status="half_open")
MODELS = [
    {"id": "mini", "tier": "efficient", "context_window": 20_000, "capabilities": ["streaming", "tools"],
     "price_usd_per_million": {"input": 0.1, "output": 0.4}, "quality": {"conversation": 0.6}},
    {"id": "big", "tier": "flagship", "context_window": 200_000,
     "capabilities": ["streaming", "tools", "vision", "json_schema"],
     "price_usd_per_million": {"input": 2, "output": 8}, "quality": {"conversation": 0.9}},
    {"id": "llama-3", "tier": "efficient", "context_window": 8_000, "quality": {"conversation": 0.4},
     "refuses": ["sampling", "forced_tool"]},
]  # fmt: skip


# As long as an image of 675 KB; its length must not count as text.
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 900_000}}


class Spend:
    """Spend by scope, the same in every period."""

    def __init__(self, spent: dict[str, int] | None = None, reserved: dict[str, int] | None = None) -> None:
        self._spent, self._reserved = spent or {}, reserved or {}

    def spent(self, scope: str, period: str, now: int) -> int:
        return self._spent.get(scope, 0)

    def reserved(self, scope: str) -> int:
        return self._reserved.get(scope, 0)


def deployment(name: str, model: str = "mini", **fields: Any) -> dict[str, Any]:
    return {"id": name, "provider": "openai", "model": model, "base_url": "http://127.0.0.1:1", **fields}


MINI_EU = deployment("mini-eu", region="eu", api_key="env:A")
MINI_US = deployment("mini-us", region="us", api_key="env:A")
BIG = deployment("big", "big", provider="anthropic", region="eu", fallback_tier="secondary")
LOCAL = deployment("own", "llama-3", provider="openai_compatible", fallback_tier="local")
ALL = [MINI_EU, MINI_US, BIG, LOCAL]


def view(
    *deployments: dict[str, Any], routing: dict[str, Any] | None = None, switched_off: frozenset[str] = frozenset(),
    strategies: dict[str, str] | None = None, **tables: Any,
) -> RoutingView:  # fmt: skip
    policy = {"strategy": "cost", "balancer": "round_robin", "cost_strategy": "minimize"} | (routing or {})
    document = {"catalog": {"models": MODELS, "deployments": list(deployments or ALL)}, "routing": policy}
    document |= {name: tables.pop(name) for name in ("budgets", "tenants", "circuit") if name in tables}
    configuration = Configuration.model_validate(document)
    inforce = InForce(
        offset=7, configuration=configuration, budgets=configuration.budgets, switched_off=switched_off,
        strategies=strategies or {},
    )  # fmt: skip
    empty: dict[str, Any] = {name: {} for name in ("circuits", "health", "in_flight", "cooling", "out_of_service")}
    return RoutingView(**{"inforce": inforce, "spend": Spend(), "turn": 0, **empty, **tables})


def request(content: Any = "hello", routing: dict[str, Any] | None = None, **body: Any) -> ChatRequest:
    document = {"messages": [{"role": "user", "content": content}], "routing": routing or {}, **body}
    return parse_request(orjson.dumps(document), max_bytes=10_000_000)


def decided(view: RoutingView, asked: ChatRequest | None = None, seconds: float = 30) -> Decision:
    deadline_at = NOW + int(seconds * MICROS_PER_S)
    return decide(asked or request(), "acme", view, now=NOW, deadline_at=deadline_at, seed=1)


def rejected(view: RoutingView, asked: ChatRequest | None = None, seconds: float = 30) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decided(view, asked, seconds)
    return caught.value


def steps(decision: Decision) -> list[str]:
    return [step.deployment for step in decision.plan]


def why(decision: Decision) -> dict[int, str]:
    return {exclusion.index: exclusion.reason for exclusion in decision.excluded}


def health(succeeded: int = 0, failed: int = 0, ms: float = 100.0, **fields: Any) -> HealthState:
    counts = {histogram.bucket(ms): succeeded} if succeeded else {}
    bucket = HealthBucket(MINUTE, succeeded, failed, latency=counts, tokens_out=succeeded * 300, **fields)
    return HealthState((bucket,))


def event_of(decision: Decision) -> RouteDecided:
    """What the log says of it, through its bytes."""
    source = Source("llm.requests", 0, 1)
    event = RouteDecided(
        event_id="e", occurred_at=NOW, worker="w", source=source, run=0, request_id="r", tenant="acme", trace_id="",
        accepted_at=NOW, plan=decision.plan, strategy=decision.strategy, cost_strategy=decision.cost_strategy,
        balancer=decision.balancer, task=decision.task, confidence=decision.confidence, reasons=decision.reasons,
        candidates=decision.candidates, estimates=decision.estimates, propensities=decision.propensities,
        excluded=decision.excluded, cut=decision.cut, control_offset=decision.control_offset, seed=decision.seed,
        decision_us=1.0, blocks=decision.blocks, in_flight=decision.in_flight, inputs=decision.inputs, turn=decision.turn,
        workers=decision.workers, session=decision.session, fallback=decision.fallback,
    )  # fmt: skip
    codec = Codec()
    decoded = codec.decode(codec.encode(event))
    assert isinstance(decoded, RouteDecided)
    return decoded
