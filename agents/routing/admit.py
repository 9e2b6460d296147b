"""Who may take a request: everyone who passes; else by relaxed criteria, then local, then one who sleeps."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from agents.routing.compiled import LOCAL, Compiled
from agents.routing.filters import ASLEEP, RELAXATION, Blocked, Reason, Unavailable
from agents.routing.profile import Profile
from agents.routing.view import RoutingView

NOBODY: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Admitted:
    """`members`: positions, ascending. `emergency`: those that only relaxed criteria let in. `reasons`: what was
    given up. `woken`: the one member sleeps, which calls under way decided.
    """

    members: list[int]
    emergency: frozenset[int] = NOBODY
    reasons: tuple[str, ...] = ()
    woken: bool = False


def admit(
    compiled: Compiled, view: RoutingView, profile: Profile, out: Unavailable, unfit: Mapping[int, Reason]
) -> Admitted:
    """The members of a decision; none when nobody may take it."""
    blocked, full = out.blocked, out.full
    if not blocked and not full and not unfit:
        members = profile.wanted
    else:
        members = [p for p in profile.wanted if p not in blocked and p not in full and p not in unfit]
    tier = compiled.tier
    # A local deployment is the last resort: relaxed criteria come before a decision that only local ones could serve.
    if members and (tier[members[0]] != LOCAL or any(tier[p] != LOCAL for p in members)):
        return Admitted(members)
    standing = [p for p in profile.capable if p not in blocked and p not in unfit]
    remote = [p for p in standing if tier[p] != LOCAL]
    relaxed = _relaxed(remote, profile, full)
    if relaxed:
        found, given_up = relaxed
        reason = f"nobody met every criterion: {given_up} given up"
        return Admitted(sorted(found + members), frozenset(found), (reason,))
    if members:
        return Admitted(members)
    relaxed = _relaxed([p for p in standing if tier[p] == LOCAL], profile, full)
    if relaxed:
        found, given_up = relaxed
        return Admitted(found, reasons=(f"only local deployments were left, with {given_up} given up",))
    return _wake(compiled, view, profile, [p for p in profile.capable if p not in unfit], blocked)


def _relaxed(positions: list[int], profile: Profile, full: Blocked) -> tuple[list[int], str] | None:
    """Who passes with as little given up as possible, and what that was."""
    misses = {p: {*profile.soft.get(p, ()), *((Reason.RATE_LIMIT,) if p in full else ())} for p in positions}
    for level in range(1, len(RELAXATION) + 1):
        given_up = set(RELAXATION[:level])
        found = [p for p in positions if misses[p] <= given_up]
        if found:
            used = set().union(*(misses[p] for p in found))
            return found, _named(used)
    return None


def _named(missed: Collection[Reason]) -> str:
    return ", ".join(reason.value.replace("_", " ") for reason in RELAXATION if reason in missed)


def _wake(compiled: Compiled, view: RoutingView, profile: Profile, capable: list[int], blocked: Blocked) -> Admitted:
    """The least recently failed of those asleep that has no call under way. None held open by a command."""

    def failed_at(position: int) -> tuple[bool, int, int]:
        circuit = view.circuits.get(compiled.ids[position])
        # One that meets every preference comes before one that failed earlier.
        failed = circuit.last_failed_at if circuit else 0
        return position in profile.soft, failed, view.cooling.get(compiled.ids[position], 0)

    asleep = []
    for position in capable:
        name = compiled.ids[position]
        circuit = view.circuits.get(name)
        command = circuit.forced if circuit else view.inforce.forced.get(name)
        if position not in blocked or blocked[position][0] not in ASLEEP or command == "open":
            continue
        if name not in view.trials and view.in_flight.get(name, 0) <= 0:
            asleep.append(position)
    if not asleep:
        return Admitted([], woken=True)
    chosen = min(asleep, key=failed_at)
    missed = profile.soft.get(chosen, ())
    reason = f"every capable deployment is unavailable: {compiled.ids[chosen]} failed least recently and gets one call"
    if missed:
        reason += f", with {_named(missed)} given up"
    relaxed = bool(missed) and compiled.tier[chosen] != LOCAL
    return Admitted([chosen], frozenset((chosen,)) if relaxed else NOBODY, (reason,), woken=True)
