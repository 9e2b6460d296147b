"""Laws of the decision."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.routing.balancers import smooth_cycle
from agents.routing.compiled import Compiled
from agents.routing.decide import Decision, decide
from agents.routing.view import RoutingView
from schemas.errors import RequestError
from schemas.inforce import InForce
from schemas.policy import Configuration
from schemas.requests import ChatRequest, parse_request
from schemas.state import CircuitState, HealthBucket, HealthState
from schemas.units import MICROS_PER_S, usd_to_nano

NOW = 1_790_000_000_000_000
MINUTE = NOW // (60 * MICROS_PER_S)
BALANCERS = ("round_robin", "weighted_round_robin", "least_connections")
ABLE = ["streaming", "tools"]
STRATEGIES = ("cost", "speed", "quality", "reliability")
LAWS = settings(max_examples=60, deadline=None)


class NothingSpent:
    def spent(self, scope: str, period: str, now: int) -> int:
        return 0

    def reserved(self, scope: str) -> int:
        return 0


prices = st.fixed_dictionaries({"input": st.floats(0, 4), "output": st.floats(0, 40)})
models = st.builds(
    lambda price, quality, tier, capabilities, window: {
        "price_usd_per_million": price, "quality": {"conversation": quality}, "tier": tier,
        "capabilities": capabilities, "context_window": window,
    },
    prices, st.floats(0, 1), st.sampled_from(("flagship", "efficient")),
    st.sampled_from((ABLE, ABLE, ABLE, ["vision"])), st.sampled_from((50_000, 50_000, 1_000)),
)  # fmt: skip
placed = st.builds(
    lambda model, tier, region, provider, key, concurrency: {
        "model": f"m{model}", "fallback_tier": tier, "region": region, "provider": provider, "api_key": f"env:K{key}",
        "base_url": "http://127.0.0.1:1", "limits": {"concurrency": concurrency},
    },
    st.integers(0, 2), st.sampled_from(("primary", "primary", "secondary", "emergency", "local")),
    st.sampled_from(("eu", "us")), st.sampled_from(("openai", "anthropic")), st.integers(0, 1),
    st.sampled_from((None, None, 2)),
)  # fmt: skip
# The number is drawn first: a list strategy by itself prefers short lists, and one candidate proves little.
catalogs = st.integers(1, 7).flatmap(lambda size: st.lists(placed, min_size=size, max_size=size))
CLOSED = CircuitState()
circuits = st.sampled_from((
    CLOSED, CLOSED, CLOSED, CLOSED, CircuitState(status="half_open"), CircuitState(forced="closed"),
    CircuitState(status="open", forced="open"),
    CircuitState(status="open", open_until=NOW + MICROS_PER_S, last_failed_at=NOW - 7),
))  # fmt: skip
healths = st.builds(
    lambda good, bad, bucket: HealthState(
        (HealthBucket(MINUTE - 1, good, bad, tokens_out=good * 100, latency={bucket: good} if good else {}),)
    ),
    st.integers(0, 60), st.integers(0, 12), st.integers(80, 240),
)  # fmt: skip


@st.composite
def views(draw: st.DrawFn, plain: bool = False) -> RoutingView:
    """A catalog of one to seven deployments in any state; `plain`: all in the primary tier, nothing wrong with any."""
    catalog_models = [{"id": f"m{i}", **draw(models)} for i in range(3)]
    deployments = [{"id": f"d{i}", **fields} for i, fields in enumerate(draw(catalogs))]
    names = [deployment["id"] for deployment in deployments]
    if plain:
        deployments = [deployment | {"fallback_tier": "primary", "limits": {}} for deployment in deployments]
    routing = {"strategy": draw(st.sampled_from(STRATEGIES)), "balancer": "round_robin", "cost_strategy": "minimize"}
    configuration = Configuration.model_validate(
        {"catalog": {"models": catalog_models, "deployments": deployments}, "routing": routing}
    )
    some = st.frozensets(st.sampled_from(names), max_size=1)
    return RoutingView(
        inforce=InForce(offset=1, configuration=configuration),
        circuits={} if plain else {name: draw(circuits) for name in names},
        health={} if plain else {name: draw(healths) for name in names if draw(st.booleans())},
        spend=NothingSpent(),
        in_flight={} if plain else {name: draw(st.integers(0, 2)) for name in names},
        cooling={} if plain else dict.fromkeys(draw(some), NOW + 1_000),
        out_of_service={} if plain else dict.fromkeys(draw(some), "credential missing"),
        turn=draw(st.integers(0, 20)),
        trials=draw(some),
    )


@st.composite
def requests(draw: st.DrawFn) -> ChatRequest:
    routing = {
        "allow": draw(st.sampled_from((None, None, ["openai/*"], ["*/m1", "d0"]))),
        "deny": draw(st.sampled_from((None, ["*/m0"], ["d1"]))),
        "max_cost_usd": draw(st.sampled_from((None, None, 0.05))),
        "min_quality": draw(st.sampled_from((None, None, 0.5))),
        "region": draw(st.sampled_from((None, None, "eu"))),
        "tier": draw(st.sampled_from((None, None, "flagship"))),
        "fallback": draw(st.sampled_from((True, True, True, False))),
    }
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": "a" * draw(st.sampled_from((10, 10, 6_000)))}],
        "model": draw(st.sampled_from(("auto", "auto", "auto", "auto", "m1", "deployment:d0"))),
        "stream": draw(st.booleans()),
        "routing": routing,
    }
    if draw(st.booleans()):
        body["tools"] = [{"type": "function"}]
    return parse_request(orjson.dumps(body), max_bytes=10**6)


SIMPLE = parse_request(b'{"messages": [{"role": "user", "content": "hello"}]}', max_bytes=10**6)


def outcome(view: RoutingView, request: ChatRequest) -> Decision | tuple[str, str]:
    try:
        return decide(request, "acme", view, now=NOW, deadline_at=NOW + 30 * MICROS_PER_S, seed=3)
    except RequestError as error:
        return error.code, error.message


def recataloged(view: RoutingView, document: dict[str, Any]) -> RoutingView:
    return replace(view, inforce=replace(view.inforce, configuration=Configuration.model_validate(document)))


def document_of(view: RoutingView) -> dict[str, Any]:
    document: dict[str, Any] = view.inforce.configuration.model_dump(mode="json")
    return document


@given(views(), requests())
@LAWS
def test_same_input_same_bytes_with_tables_new_or_old(view: RoutingView, request: ChatRequest) -> None:
    fresh = recataloged(view, document_of(view))
    assert outcome(view, request) == outcome(view, request) == outcome(fresh, request)


@given(views(), requests(), st.randoms(use_true_random=False))
@LAWS
def test_the_order_of_the_catalog_changes_nothing(view: RoutingView, request: ChatRequest, rng: random.Random) -> None:
    document = document_of(view)
    rng.shuffle(document["catalog"]["deployments"])
    rng.shuffle(document["catalog"]["models"])
    before, after = outcome(view, request), outcome(recataloged(view, document), request)
    if isinstance(before, Decision):
        assert isinstance(after, Decision)
        assert (before.plan, before.reasons, before.estimates) == (after.plan, after.reasons, after.estimates)
        assert before.confidence == after.confidence
    else:
        assert before == after


@given(views(plain=True))
@LAWS
def test_a_worse_candidate_changes_no_winner(view: RoutingView) -> None:
    document = document_of(view)
    catalog = document["catalog"]
    worse = {"id": "worse", "price_usd_per_million": {"input": 100, "output": 500}, "context_window": 128_000}
    catalog["models"].append(worse | {"quality": {"conversation": 0.0}})
    catalog["deployments"].append(catalog["deployments"][0] | {"id": "zz", "model": "worse"})
    before, after = outcome(view, SIMPLE), outcome(recataloged(view, document), SIMPLE)
    assert isinstance(before, Decision)
    assert isinstance(after, Decision)
    assert before.plan[0] == after.plan[0]
    assert after.confidence <= before.confidence


@given(views(plain=True))
@LAWS
def test_a_dominated_deployment_is_never_first_under_cost(view: RoutingView) -> None:
    document = document_of(view)
    document["routing"]["strategy"] = "cost"
    decision = outcome(recataloged(view, document), SIMPLE)
    assert isinstance(decision, Decision)
    catalog = view.inforce.configuration.catalog

    def worth(name: str) -> tuple[float, float]:
        model = catalog.model_by_id[catalog.deployment_by_id[name].model]
        price_in, price_out, _, _ = model.price_usd_per_million.nano
        cost = price_in * decision.estimated_tokens_in + price_out * decision.estimated_tokens_out
        return cost, model.quality["conversation"]

    cost, quality = worth(decision.plan[0].deployment)
    # float32: what differs by less than a part in a million is equal.
    assert not any(
        other_cost < cost * (1 - 1e-6) and other_quality > quality + 1e-6
        for other_cost, other_quality in (worth(deployment.id) for deployment in catalog.deployments)
    )


@given(views(), requests())
@LAWS
def test_nothing_leaves_the_constraints(view: RoutingView, request: ChatRequest) -> None:
    decision = outcome(view, request)
    if not isinstance(decision, Decision):
        return
    catalog, routing = view.inforce.configuration.catalog, request.routing
    assert 1 <= len(decision.plan) <= view.inforce.configuration.routing.max_attempts
    assert len({step.deployment for step in decision.plan}) == len(decision.plan)
    for step in decision.plan:
        deployment = catalog.deployment_by_id[step.deployment]
        model = catalog.model_by_id[deployment.model]
        assert request.needs <= model.capabilities
        assert decision.estimated_tokens_in + 300 <= model.context_window
        assert step.deployment not in view.out_of_service
        forced = view.circuits.get(step.deployment, CircuitState()).forced
        assert forced != "open"
        if routing.deny:
            assert model.id != "m0" if routing.deny == ["*/m0"] else deployment.id != "d1"
        if routing.allow == ["openai/*"]:
            assert deployment.provider == "openai"
        elif routing.allow:
            assert model.id == "m1" or deployment.id == "d0"
        if routing.max_cost_usd is not None:
            assert decision.reserve_nano_usd[step.deployment] <= usd_to_nano(routing.max_cost_usd)
        if step.tier not in ("emergency", "local"):
            assert routing.region in (None, deployment.region)
            assert routing.tier in (None, model.tier)
            assert model.quality["conversation"] >= (routing.min_quality or 0)


@given(views(), requests())
@LAWS
def test_every_deployment_is_a_candidate_or_excluded(view: RoutingView, request: ChatRequest) -> None:
    decision = outcome(view, request)
    if isinstance(decision, Decision):
        named = [*decision.candidates, *(exclusion.index for exclusion in decision.excluded)]
        left_out = [exclusion.index for exclusion in decision.excluded]
        assert left_out == sorted(left_out)
        assert sorted(named) == list(range(len(view.inforce.configuration.catalog.deployments)))
        assert len(decision.estimates) == 32 * len(decision.candidates)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(0, 50))
@LAWS
def test_weighted_round_robin_is_exact_over_a_cycle(weights: list[int], start: int) -> None:
    cycle = smooth_cycle(tuple(map(float, weights)))
    total = len(cycle)
    counts = Counter(cycle[turn % total] for turn in range(start, start + total))
    assert [counts[place] * sum(weights) for place in range(len(weights))] == [weight * total for weight in weights]


@given(st.integers(2, 6), st.integers(0, 100), st.sampled_from(BALANCERS))
@LAWS
def test_balancers_are_even_over_equal_replicas(replicas: int, start: int, balancer: str) -> None:
    document = {
        "catalog": {
            "models": [{"id": "m"}],
            "deployments": [
                {"id": f"d{i}", "provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1"}
                for i in range(replicas)
            ],
        },
        "routing": {"strategy": "cost", "balancer": balancer, "cost_strategy": "minimize"},
    }
    inforce = InForce(configuration=Configuration.model_validate(document))
    firsts: Counter[str] = Counter()
    for turn in range(start, start + 3 * replicas):
        decision = outcome(RoutingView(inforce, {}, {}, NothingSpent(), {}, {}, {}, turn), SIMPLE)
        assert isinstance(decision, Decision)
        firsts[decision.plan[0].deployment] += 1
    assert set(firsts.values()) == {3}
    assert len(firsts) == replicas


@given(views(), requests(), views())
@LAWS
def test_what_was_learned_before_does_not_show(view: RoutingView, request: ChatRequest, other: RoutingView) -> None:
    tables = Compiled(view.inforce.configuration.catalog).learned
    tables.refresh(other.health, NOW + 60 * MICROS_PER_S)
    tables.refresh(view.health, NOW)
    straight = Compiled(view.inforce.configuration.catalog).learned
    straight.refresh(view.health, NOW)
    assert tables.facts == straight.facts
