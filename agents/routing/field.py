"""The field of a decision: who takes part, in blocks, and who does not and why. Made once for a shape and its troubles."""

from collections.abc import Mapping

import numpy as np

from agents.routing.admit import Admitted, admit
from agents.routing.compiled import EMERGENCY, Compiled
from agents.routing.filters import Reason, Unavailable
from agents.routing.kernel.kin import Kin
from agents.routing.pace import Pace
from agents.routing.profile import Profile
from agents.routing.sentences import left_out
from agents.routing.view import RoutingView
from schemas.catalog import FALLBACK_TIERS
from schemas.events import Block, Exclusion

FIELDS_KEPT = 64


class Field:
    """Owns the tables of one set of members. A *place* is a number in `members`: positions by block, then by id.

    `bounds`: places (start, end) of each block, best block first, and `tiers` the same as events say it. `groups`:
    replicas of the first block by group.
    `names`, `group`, `weight`, `offer`: by place; `kin`: who is whose replica. `paces`: memo of the numbers that health changes.
    """

    def __init__(self, compiled: Compiled, view: RoutingView, profile: Profile, out: Unavailable, admitted: Admitted,
                 misfits: Mapping[int, Reason]) -> None:  # fmt: skip
        width, emergency = len(FALLBACK_TIERS), admitted.emergency
        block = profile.block
        if emergency:
            block = [b - b % width + EMERGENCY if p in emergency else b for p, b in enumerate(block)]
        self.admitted, self.emergency = admitted, emergency
        self.members = sorted(admitted.members, key=lambda position: (block[position], position))
        blocks = [block[position] for position in self.members]
        starts = [k for k in range(len(blocks)) if k == 0 or blocks[k] != blocks[k - 1]]
        self.bounds = list(zip(starts, [*starts[1:], len(blocks)][: len(starts)], strict=True))
        self.at = np.array(self.members, dtype=np.intp)
        self.names = [compiled.ids[position] for position in self.members]
        self.group = [compiled.group[position] for position in self.members]
        self.weight = [compiled.weight[position] for position in self.members]
        self.kin = Kin(self.group, [compiled.lane[position] for position in self.members], blocks)
        self.groups: dict[tuple[str, str], list[int]] = {}
        for k in range(*self.bounds[0]) if self.bounds else ():
            self.groups.setdefault(self.group[k], []).append(k)
        self.index = [compiled.index[position] for position in self.members]
        self.steps = [
            compiled.relaxed_steps[position] if position in emergency else compiled.steps[position]
            for position in self.members
        ]
        self.tiers = tuple(Block(self.steps[start].tier, end - start) for start, end in self.bounds)
        self.offer = compiled.offer.at(self.at)
        self.limited = bool(self.offer.per_call.any())
        self.quality = np.array(profile.quality)[self.at]
        self.quality_sd = np.array(profile.quality_sd)[self.at]
        self.paces: dict[tuple[object, ...], Pace] = {}
        self.excluded = _excluded(compiled, profile, out, misfits, admitted)
        self.left_out = _left_out(compiled, view, profile, out, misfits, admitted)


def field_of(
    compiled: Compiled, view: RoutingView, profile: Profile, out: Unavailable, misfits: Mapping[int, Reason]
) -> Field:
    """The field of a profile under these troubles. Its `members` are empty when nobody may take the request."""
    known: Field | None = profile.fields.get(out)
    if known is not None and not misfits and not view.out_of_service:
        return known
    key = (
        tuple(out.blocked.items()), tuple(out.full.items()), tuple(misfits.items()),
        tuple(view.out_of_service.items()) if view.out_of_service else (),
    )  # fmt: skip
    known = profile.fields.get(key)
    if known is None:
        admitted = admit(compiled, view, profile, out, misfits)
        known = Field(compiled, view, profile, out, admitted, misfits)
        # Who is woken depends on calls under way, which the key does not hold.
        if admitted.woken:
            return known
        if len(profile.fields) >= FIELDS_KEPT:
            profile.fields.clear()
        profile.fields[key] = known
    # By identity too where filters.py keeps the object: it saves making and hashing the key.
    if not misfits and compiled.calm and out is compiled.calm.out:
        profile.fields[out] = known
    return known


def _left_out(
    compiled: Compiled, view: RoutingView, profile: Profile, out: Unavailable, misfits: Mapping[int, Reason],
    admitted: Admitted,
) -> tuple[str, ...]:  # fmt: skip
    """Sentences for what would have been a candidate but for its state, or for the size of this request."""
    if not out.blocked and not out.full and not misfits:
        return ()
    taken = set(admitted.members)
    missed = []
    for position in profile.capable:
        found = out.blocked.get(position) or out.full.get(position)
        if found is None and position in misfits:
            found = misfits[position], 0
        if found and position not in taken:
            missed.append((position, *found))
    return tuple(left_out(compiled.ids, missed, view.out_of_service))


def _excluded(
    compiled: Compiled, profile: Profile, out: Unavailable, misfits: Mapping[int, Reason], admitted: Admitted
) -> tuple[Exclusion, ...]:
    """Everyone who is no candidate, in the order of the catalog, with the first reason of the tiers of filters."""
    if not out.blocked and not out.full and not misfits and admitted.members is profile.wanted:
        return profile.excluded
    taken = set(admitted.members)
    excluded = []
    for position in range(len(compiled.ids)):
        if position in taken:
            continue
        soft = profile.soft.get(position, ())
        found = out.blocked.get(position) or out.full.get(position)
        if found is None:
            region = Reason.REGION if Reason.REGION in soft else None
            found = region or profile.hard.get(position) or misfits.get(position) or soft[0], 0
        excluded.append(Exclusion(compiled.index[position], found[0].value, found[1]))
    excluded.sort(key=lambda exclusion: exclusion.index)
    return tuple(excluded)
