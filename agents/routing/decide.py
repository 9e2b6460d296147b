"""The decision: filters, estimates, ranking, balancing, plan. Same inputs, same bytes out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agents.routing.budget import budgets_of, gate
from agents.routing.choice import choice, min_quality_of, policies_of, priority_of
from agents.routing.compiled import Compiled, compiled
from agents.routing.cost_strategies import COST_ALONE, COST_STRATEGIES, PRICED
from agents.routing.estimates import MILLION, P99_TOKENS_OUT, RECORDED, TOKENS_OUT, tokens_in
from agents.routing.field import field_of
from agents.routing.filters import unavailable, unfit
from agents.routing.kernel.columns import record
from agents.routing.kernel.lookup import counts_of, picked
from agents.routing.order import Ordered, ordered, plan_of, praise
from agents.routing.profile import profile_of
from agents.routing.remake import inputs_of, session_digest
from agents.routing.sentences import rejection
from agents.routing.setting import Setting, setting_of
from agents.routing.task import task_of
from agents.routing.utility import TARGET_MS
from agents.routing.view import RoutingView
from schemas.errors import RequestError
from schemas.events import Block, Exclusion, PlanStep
from schemas.requests import ChatRequest
from schemas.units import MICROS_PER_MS, nano_to_usd


class Decision(NamedTuple):
    """What RouteDecided records, and what the attempts need.

    `candidates`: indices in the catalog in the order of trial, at most 32; `estimates`: ESTIMATE_FIELDS of each as
    little-endian float32. `propensities`: empty where all are 1. `cut`: more than 32 candidates. `reserve_nano_usd`:
    deployment of the plan -> what to hold for a call. `turn_key`: whose turn it was, for RoutingView.turns.
    """

    plan: tuple[PlanStep, ...]
    strategy: str
    cost_strategy: str
    balancer: str
    task: str
    confidence: float
    reasons: tuple[str, ...]
    candidates: tuple[int, ...]
    estimates: bytes
    propensities: tuple[float, ...]
    excluded: tuple[Exclusion, ...]
    cut: bool
    control_offset: int
    seed: int
    estimated_tokens_in: int
    estimated_tokens_out: int
    reserve_nano_usd: Mapping[str, int]
    blocks: tuple[Block, ...]
    in_flight: tuple[int, ...]
    inputs: bytes
    turn: int
    workers: int
    session: int
    fallback: bool
    turn_key: str = ""


def decide(request: ChatRequest, tenant: str, view: RoutingView, *, now: int, deadline_at: int, seed: int) -> Decision:
    """Which deployments to try, in which order. `now`, `deadline_at`: microseconds of broker time.

    Raises RequestError `unknown_model`, `no_capable_deployment`, `context_length_exceeded`, `cost_limit_exceeded`,
    `budget_exhausted`, `throttled` or `deadline_exceeded`, which name what removed the most and what to change.
    """
    if deadline_at <= now:
        message = "The deadline passed before a deployment was chosen; raise routing.deadline_ms or try again."
        raise RequestError("deadline_exceeded", message, param="routing.deadline_ms")
    inforce, routing = view.inforce, request.routing
    configuration = inforce.configuration
    catalog, policies = compiled(configuration.catalog), policies_of(inforce)
    task = task_of(request)
    policy = policies.of(tenant, task)
    if catalog.qualities.refresh(view.quality, now):
        # Quality is a part of every profile; feedback comes seldom.
        catalog.profiles.clear()
    min_quality, demanded = min_quality_of(policy, request)
    profile = profile_of(catalog, request, task, min_quality)
    priority = priority_of(policies, tenant, routing)
    zone = inforce.zones.get(tenant, "")
    budget = gate(budgets_of(inforce.budgets), catalog, tenant, view.spend, now, priority, zone)
    catalog.learned.refresh(view.health, now, view.learned)
    catalog.experience.refresh(catalog.learned.streams, now)
    lengths = catalog.experience.lengths(task)
    longest = lengths.p99 if lengths else None
    size_in = tokens_in(request)
    busy = counts_of(view.in_flight, catalog.ids) if view.in_flight else None
    out = unavailable(catalog, view, budget.closed, now, busy)
    misfits = unfit(
        catalog,
        profile.capable,
        profile.smallest_window,
        request,
        size_in,
        (deadline_at - now) / MICROS_PER_MS,
        longest,
    )
    field = field_of(catalog, view, profile, out, misfits)
    if not field.members:
        raise rejection(profile.hard, misfits, {**out.full, **out.blocked}, len(catalog.ids), now)

    chosen = choice(policy, routing, budget.used)
    weights, factors = COST_ALONE, None
    changed: tuple[str, ...] = ()
    if chosen.strategy in PRICED:
        terms = COST_STRATEGIES[chosen.cost_strategy](catalog, view, budget, priority)
        weights, factors, changed = terms.weights, terms.factors, terms.reasons
    if chosen.weights:
        weights = chosen.weights
        if chosen.cost_strategy == "budget_aware":
            # Its sentence says what cost weighs, and here something else does.
            changed = ()
    session = session_digest(routing.session) if routing.session is not None else 0
    setting = setting_of(
        catalog,
        field,
        view,
        request,
        task,
        size_in,
        seed,
        factors,
        policies.target_ms or TARGET_MS,
        weights,
        busy,
        session,
    )
    most = configuration.routing.max_attempts
    result = ordered(setting, chosen, most)
    places = result.places
    plan = plan_of(field, places, routing.fallback, most)
    recorded = places[:RECORDED]
    return Decision(
        plan=plan,
        strategy=chosen.strategy,
        cost_strategy=chosen.cost_strategy,
        balancer=chosen.balancer,
        task=task,
        confidence=result.confidence,
        reasons=(
            praise(chosen, result.leaders, len(field.members), plan[0].tier),
            *_numbers(setting, result, chosen.balancer),
            *result.reasons,
            *field.admitted.reasons,
            *budget.reasons,
            *chosen.reasons,
            *demanded,
            *changed,
            *field.left_out,
        ),
        candidates=tuple(picked(field.index, recorded)),
        estimates=record(setting.table, result.scores, recorded),
        propensities=() if result.propensities is None else tuple(picked(result.propensities, recorded)),
        excluded=field.excluded,
        cut=len(field.members) > RECORDED,
        control_offset=inforce.offset,
        seed=seed,
        estimated_tokens_in=size_in,
        estimated_tokens_out=int(setting.table[places[0], TOKENS_OUT]),
        reserve_nano_usd=_reserves(catalog, plan, request.max_tokens, size_in, longest),
        blocks=field.tiers,
        in_flight=tuple(picked(setting.in_flight(), recorded)) if busy else (),
        inputs=inputs_of(setting, chosen, result, recorded),
        turn=result.turn,
        workers=view.workers,
        session=session,
        fallback=routing.fallback,
        turn_key=result.turn_key,
    )


def _reserves(
    catalog: Compiled, plan: tuple[PlanStep, ...], most: int | None, size_in: int, longest: Sequence[int] | None
) -> dict[str, int]:
    """`reserve` of each deployment of the plan, without a call for each."""
    position, max_out, price_in, price_out = catalog.position, catalog.max_out, catalog.price_in, catalog.price_out
    found = {}
    for step in plan:
        name = step.deployment
        p = position[name]
        out = longest[p] if longest else P99_TOKENS_OUT
        # Comparisons: `min` is a call too.
        if most and most < out:
            out = most
        if max_out[p] < out:
            out = max_out[p]
        found[name] = -(-(price_in[p] * size_in + price_out[p] * out) // MILLION)
    return found


def _numbers(setting: Setting, result: Ordered, balancer: str) -> list[str]:
    winner, field, pace = result.places[0], setting.field, setting.pace
    cost, ms = setting.cost.item(winner), setting.ms.item(winner)
    sentences = [
        f"{field.names[winner]}: {nano_to_usd(round(cost)):.6f} USD a success, {ms:.0f} ms, "
        f"success {pace.success.item(winner):.2f}, quality {pace.qualities[winner]:.2f}"
    ]
    if result.replicas > 1:
        model = field.group[winner][0]
        sentences.append(f"{balancer} chose it among {result.replicas} replicas of {model} (turn {result.turn})")
    return sentences
