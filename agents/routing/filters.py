"""Why a deployment is left out: what is wrong with it now (availability), and what it cannot do at all (capability)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import repeat
from typing import NamedTuple

from agents.routing.compiled import Compiled
from agents.routing.estimates import reserve, tokens_needed
from agents.routing.kernel.lookup import any_reached
from agents.routing.learned import MINUTE
from agents.routing.view import RoutingView
from schemas.requests import ChatRequest
from schemas.state import CircuitState
from schemas.units import usd_to_nano


class Reason(StrEnum):
    """Codes of exclusions, as events carry them."""

    BUDGET = "budget"
    SWITCHED_OFF = "switched_off"
    OUT_OF_SERVICE = "out_of_service"
    TRIED = "tried"
    CIRCUIT_OPEN = "circuit_open"
    HALF_OPEN_BUSY = "half_open_busy"
    COOLING = "cooling"
    UNHEALTHY = "unhealthy"
    CONCURRENCY = "concurrency"
    RATE_LIMIT = "rate_limit"
    REGION = "region"
    MODEL = "model"
    DENIED = "denied"
    NOT_ALLOWED = "not_allowed"
    TOOLS = "tools"
    VISION = "vision"
    JSON_SCHEMA = "json_schema"
    STREAMING = "streaming"
    SAMPLING = "sampling"
    FORCED_TOOL = "forced_tool"
    CONTEXT = "context"
    MAX_COST = "max_cost"
    DEADLINE = "deadline"
    MIN_QUALITY = "min_quality"
    TIER = "tier"


NEEDS = (Reason.TOOLS, Reason.VISION, Reason.JSON_SCHEMA, Reason.STREAMING)
"""What a request may need of a model: the capabilities of the catalog that are looked at."""
RELAXATION = (Reason.REGION, Reason.MIN_QUALITY, Reason.TIER, Reason.RATE_LIMIT)
"""What the emergency tier gives up, one after the other; nothing else is ever given up."""
ASLEEP = frozenset((Reason.CIRCUIT_OPEN, Reason.HALF_OPEN_BUSY, Reason.COOLING, Reason.UNHEALTHY))
"""What may be woken for one call at a time when nobody else is left."""
Blocked = dict[int, tuple[Reason, int]]
"""Position -> reason and until when (microseconds, 0 if open-ended)."""


@dataclass(frozen=True, slots=True, eq=False)
class Unavailable:
    """`blocked`: cannot be called. `full`: at a rate limit by our own count, which the emergency tier ignores.

    Compared by identity, so that what is derived from one is found at once.
    """

    blocked: Blocked
    full: Blocked


class Calm(NamedTuple):
    """What the circuits alone rule out, and from when until when (microseconds) that holds."""

    troubles: list[tuple[int, CircuitState]]
    probing: bool
    since: float
    until: float
    out: Unavailable


def unavailable(
    compiled: Compiled, view: RoutingView, closed: Mapping[int, int], now: int, flying: list[int] | None
) -> Unavailable:
    """The first reason of each deployment that cannot be called now. `closed`: positions without a budget, until.

    `flying`: calls under way by position, None where there are none.
    """
    learned, troubles = compiled.learned, compiled.troubles.of(view.circuits, view.inforce.forced)
    probing = view.inforce.configuration.circuit.probe_interval_s > 0
    crowded = any_reached(flying, learned.rooms) if flying else learned.used_up
    # An entry stays after its time until a call succeeds: what is over must not cost the fast path.
    cooling = view.cooling and any(map(now.__lt__, view.cooling.values()))
    if not (
        crowded or closed or view.inforce.switched_off or view.out_of_service or view.tried or cooling
        or view.trials or view.full or learned.unhealthy
    ):  # fmt: skip
        return _by_circuits(compiled, troubles, probing, now)
    blocked: Blocked = {position: (Reason.BUDGET, until) for position, until in closed.items()}
    position_of = compiled.position
    for names, reason in (
        (view.inforce.switched_off, Reason.SWITCHED_OFF),
        (view.out_of_service, Reason.OUT_OF_SERVICE),
        (view.tried, Reason.TRIED),
    ):
        for name in names:
            position = position_of.get(name)
            if position is not None:
                blocked.setdefault(position, (reason, 0))
    for position, circuit in troubles:
        if position not in blocked and circuit.status != "closed":
            found = _of_circuit(circuit, compiled.ids[position] in view.trials, probing, now)
            if found:
                blocked[position] = found
    for name, until in view.cooling.items() if cooling else ():
        position = position_of.get(name)
        if until > now and position is not None:
            blocked.setdefault(position, (Reason.COOLING, until))
    if learned.unhealthy:
        held_closed = {position for position, circuit in troubles if circuit.forced == "closed"}
        for position in learned.unhealthy:
            if position not in held_closed:
                blocked.setdefault(position, (Reason.UNHEALTHY, 0))
    at_limit = []
    if crowded:
        at_limit = [
            p for p, (busy, room) in enumerate(zip(flying or repeat(0), learned.rooms, strict=False)) if busy >= room
        ]
    full = _full(compiled, view, at_limit, blocked, now) if at_limit else {}
    for name, until in view.full.items() if view.full else ():
        position = position_of.get(name)
        if position is not None:
            full.setdefault(position, (Reason.RATE_LIMIT, until))
    return Unavailable(blocked, full)


def _by_circuits(compiled: Compiled, troubles: list[tuple[int, CircuitState]], probing: bool, now: int) -> Unavailable:
    """Where circuits are all that is wrong: the same object while they and the time allow.

    Saves 4 us at 50 deployments, and field.py a key of all exclusions.
    """
    known: Calm | None = compiled.calm
    if known and known.troubles is troubles and known.probing == probing and known.since <= now < known.until:
        return known.out
    blocked: Blocked = {}
    for position, circuit in troubles:
        found = _of_circuit(circuit, False, probing, now) if circuit.status != "closed" else None
        if found:
            blocked[position] = found
    ends = [circuit.open_until for _, circuit in troubles]
    since = max((end for end in ends if end <= now), default=-math.inf)
    until = min((end for end in ends if end > now), default=math.inf)
    out = Unavailable(blocked, {})
    compiled.calm = Calm(troubles, probing, since, until, out)
    return out


def _of_circuit(circuit: CircuitState, trial: bool, probing: bool, now: int) -> tuple[Reason, int] | None:
    if circuit.forced == "closed":
        return None
    # Only a probe half-opens a circuit. Its time matters where probing is off: then it admits trials as half-open does.
    if circuit.status == "open" and (probing or circuit.forced or circuit.open_until > now):
        return Reason.CIRCUIT_OPEN, 0 if circuit.forced or circuit.open_until <= now else circuit.open_until
    return (Reason.HALF_OPEN_BUSY, 0) if trial else None


def _full(compiled: Compiled, view: RoutingView, at_limit: list[int], blocked: Blocked, now: int) -> Blocked:
    """Adds the positions at their concurrency limit to `blocked`; returns those at a limit of this minute."""
    full: Blocked = {}
    for position in at_limit:
        concurrency = compiled.limits[position].concurrency
        if concurrency and view.in_flight.get(compiled.ids[position], 0) >= concurrency:
            blocked.setdefault(position, (Reason.CONCURRENCY, 0))
        else:
            full[position] = Reason.RATE_LIMIT, now - now % MINUTE + MINUTE
    return full


def capability(compiled: Compiled, position: int, request: ChatRequest) -> Reason | None:
    """What the model lacks for the request, or the caller forbids. Never relaxed."""
    deployment, model = compiled.deployments[position], compiled.models[position]
    routing = request.routing
    if routing.deny and _matches(routing.deny, deployment.provider, model.id, deployment.id):
        return Reason.DENIED
    if routing.allow is not None and not _matches(routing.allow, deployment.provider, model.id, deployment.id):
        return Reason.NOT_ALLOWED
    for need in NEEDS:
        if need.value in request.needs and need.value not in model.capabilities:
            return need
    if model.refuses:
        for need in (Reason.SAMPLING, Reason.FORCED_TOOL):
            if need.value in request.needs and need.value in model.refuses:
                return need
    return None


def preferences(
    compiled: Compiled, position: int, request: ChatRequest, quality: float, min_quality: float | None
) -> tuple[Reason, ...]:
    """What the caller asked for, or the task's policy, and the emergency tier may give up, in the order of RELAXATION."""
    routing = request.routing
    missed = []
    if routing.region and compiled.deployments[position].region != routing.region:
        missed.append(Reason.REGION)
    if min_quality is not None and quality < min_quality:
        missed.append(Reason.MIN_QUALITY)
    if routing.tier and compiled.models[position].tier != routing.tier:
        missed.append(Reason.TIER)
    return tuple(missed)


def _matches(patterns: list[str], provider: str, model: str, deployment: str) -> bool:
    name = f"{provider}/{model}"
    return any(pattern == deployment or fnmatchcase(name, pattern) for pattern in patterns)


def unfit(
    compiled: Compiled, capable: list[int], smallest_window: int, request: ChatRequest, size_in: int,
    remaining_ms: float, longest: Sequence[int] | None = None,
) -> dict[int, Reason]:  # fmt: skip
    """Capable positions that are too small, too dear or too slow for this very request. Never relaxed."""
    found: dict[int, Reason] = {}
    if compiled.learned.slowest_p95_ms > remaining_ms:
        facts = compiled.learned.facts
        found.update((p, Reason.DEADLINE) for p in capable if facts[p].p95_ms > remaining_ms)
    if request.routing.max_cost_usd is not None:
        most = usd_to_nano(request.routing.max_cost_usd)
        found.update((p, Reason.MAX_COST) for p in capable if reserve(compiled, p, request, size_in, longest) > most)
    # Only a request that could be too long is measured against each window.
    if size_in + (request.max_tokens or 0) + 1_000 > smallest_window:
        for p in capable:
            if tokens_needed(compiled, p, request, size_in) > compiled.window[p]:
                found[p] = Reason.CONTEXT
    return found
