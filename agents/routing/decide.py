"""The decision: filters, estimates, ranking, balancing, plan. Same inputs, same bytes out."""

from collections.abc import Mapping
from dataclasses import dataclass

from agents.routing.admit import Admitted, admit
from agents.routing.budget import budgets_of, gate
from agents.routing.choice import choice
from agents.routing.compiled import EMERGENCY, Compiled, compiled
from agents.routing.estimates import TOKENS_OUT, Estimates, estimate, packed, reserve, tokens_in
from agents.routing.filters import Blocked, Reason, Unavailable, unavailable, unfit
from agents.routing.order import Ordered, ordered, praise
from agents.routing.profile import Profile, profile_of
from agents.routing.sentences import left_out, rejection
from agents.routing.task import task_of
from agents.routing.view import RoutingView
from schemas.catalog import FALLBACK_TIERS
from schemas.errors import RequestError
from schemas.events import Exclusion, PlanStep
from schemas.requests import ChatRequest
from schemas.units import MICROS_PER_MS, nano_to_usd

RECORDED = 32


@dataclass(frozen=True, slots=True)
class Decision:
    """What RouteDecided records, and what the attempts need.

    `candidates`: indices in the catalog in the order of trial, at most 32; `estimates`: ESTIMATE_FIELDS of each as
    little-endian float32. `propensities`: empty where all are 1. `cut`: more than 32 candidates. `reserve_nano_usd`:
    deployment of the plan -> what to hold for a call.
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


def decide(request: ChatRequest, tenant: str, view: RoutingView, *, now: int, deadline_at: int, seed: int) -> Decision:
    """Which deployments to try, in which order. `now`, `deadline_at`: microseconds of broker time.

    Raises RequestError `unknown_model`, `no_capable_deployment`, `context_length_exceeded`, `cost_limit_exceeded`,
    `budget_exhausted`, `throttled` or `deadline_exceeded`, which name what removed the most and what to change.
    """
    if deadline_at <= now:
        message = "The deadline passed before a deployment was chosen; raise routing.deadline_ms or try again."
        raise RequestError("deadline_exceeded", message, param="routing.deadline_ms")
    inforce = view.inforce
    catalog = compiled(inforce.configuration.catalog)
    task = task_of(request)
    profile = profile_of(catalog, request, task)
    budget = gate(budgets_of(inforce.budgets), catalog, tenant, view.spend, now)
    catalog.learned.refresh(view.health, now)
    size_in = tokens_in(request)
    out = unavailable(catalog, view, budget.closed, now)
    remaining_ms = (deadline_at - now) / MICROS_PER_MS
    misfits = unfit(catalog, profile.capable, profile.smallest_window, request, size_in, remaining_ms)
    admitted = admit(catalog, view, profile, out, misfits)
    members = admitted.members
    if not members:
        raise rejection(profile.hard, misfits, {**out.full, **out.blocked}, len(catalog.ids), now)

    chosen = choice(inforce, tenant, request.routing)
    estimates = estimate(catalog, members, request, size_in, profile.quality, view.in_flight)
    emergency = admitted.emergency
    blocks = [profile.block[p] for p in members]
    if emergency:
        width = len(FALLBACK_TIERS)
        blocks = [b - b % width + EMERGENCY if p in emergency else b for p, b in zip(members, blocks, strict=True)]
    most = inforce.configuration.routing.max_attempts
    result = ordered(catalog, view, estimates, blocks, chosen, most, seed)
    plan = _plan(catalog, members, result.places, emergency, request.routing.fallback, most)
    winner = result.places[0]
    recorded = result.places[:RECORDED]
    return Decision(
        plan=plan,
        strategy=chosen.strategy,
        cost_strategy=chosen.cost_strategy,
        balancer=chosen.balancer,
        task=task,
        confidence=result.confidence,
        reasons=(
            praise(chosen, result.leaders, len(members), plan[0].tier),
            *_numbers(catalog, estimates, result, chosen.balancer, view.turn),
            *admitted.reasons,
            *budget.reasons,
            *chosen.reasons,
            *_left_out(catalog, view, profile, out, misfits, admitted),
        ),
        candidates=tuple([catalog.index[members[k]] for k in recorded]),
        estimates=packed(estimates, recorded, result.ranked.scores),
        propensities=(),
        excluded=_excluded(catalog, profile, out, misfits, admitted),
        cut=len(members) > RECORDED,
        control_offset=inforce.offset,
        seed=seed,
        estimated_tokens_in=size_in,
        estimated_tokens_out=int(estimates.table[TOKENS_OUT, winner]),
        reserve_nano_usd={
            step.deployment: reserve(catalog, catalog.position[step.deployment], request, size_in) for step in plan
        },
    )


def _plan(
    catalog: Compiled, members: list[int], places: list[int], emergency: frozenset[int], fallback: bool, most: int
) -> tuple[PlanStep, ...]:
    """The first `most` in the order of trial. Without fallback no other model than the first one's."""
    steps = []
    model = catalog.models[members[places[0]]].id
    for k in places:
        position = members[k]
        if not fallback and catalog.models[position].id != model:
            continue
        tier = FALLBACK_TIERS[EMERGENCY if position in emergency else catalog.tier[position]]
        steps.append(PlanStep(catalog.ids[position], tier))
        if len(steps) == most:
            break
    return tuple(steps)


def _numbers(catalog: Compiled, estimates: Estimates, result: Ordered, balancer: str, turn: int) -> list[str]:
    winner = result.places[0]
    position = estimates.members[winner]
    _, _, cost, ms, success, _, quality, _ = estimates.table[:, winner].tolist()
    sentences = [
        f"{catalog.ids[position]}: {nano_to_usd(round(cost)):.6f} USD a success, {ms:.0f} ms, "
        f"success {success:.2f}, quality {quality:.2f}"
    ]
    if result.replicas > 1:
        model = catalog.models[position].id
        sentences.append(f"{balancer} chose it among {result.replicas} replicas of {model} (turn {turn})")
    return sentences


def _left_out(
    catalog: Compiled, view: RoutingView, profile: Profile, out: Unavailable, misfits: Mapping[int, Reason],
    admitted: Admitted,
) -> list[str]:  # fmt: skip
    """Sentences for what would have been a candidate but for its state, or for the size of this request."""
    if not out.blocked and not out.full and not misfits:
        return []
    taken = set(admitted.members)
    missed = []
    for position in profile.capable:
        found = _dynamic(position, out, misfits) if position not in taken else None
        if found:
            missed.append((position, *found))
    return left_out(catalog.ids, missed, view.out_of_service)


def _excluded(
    catalog: Compiled, profile: Profile, out: Unavailable, misfits: Mapping[int, Reason], admitted: Admitted
) -> tuple[Exclusion, ...]:
    """Everyone who is no candidate, in the order of the catalog, with the first reason of the tiers of filters."""
    if not out.blocked and not out.full and not misfits and admitted.members is profile.wanted:
        return profile.excluded
    taken = set(admitted.members)
    excluded = []
    for position in range(len(catalog.ids)):
        if position in taken:
            continue
        soft = profile.soft.get(position, ())
        if position in out.blocked:
            reason, until = out.blocked[position]
        elif position in out.full:
            reason, until = out.full[position]
        elif Reason.REGION in soft:
            reason, until = Reason.REGION, 0
        else:
            reason, until = profile.hard.get(position) or misfits.get(position) or soft[0], 0
        excluded.append(Exclusion(catalog.index[position], reason.value, until))
    excluded.sort(key=lambda exclusion: exclusion.index)
    return tuple(excluded)


def _dynamic(position: int, out: Unavailable, misfits: Mapping[int, Reason]) -> tuple[Reason, int] | None:
    blocked: Blocked = out.blocked
    if position in blocked:
        return blocked[position]
    if position in out.full:
        return out.full[position]
    return (misfits[position], 0) if position in misfits else None
