"""What a catalog offers to requests of one shape. Made once a shape: most traffic has few of them."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from agents.routing.compiled import Compiled
from agents.routing.estimates import UNKNOWN_QUALITY
from agents.routing.filters import Reason, capability, preferences
from schemas.catalog import FALLBACK_TIERS, Model
from schemas.errors import RequestError
from schemas.events import Exclusion
from schemas.requests import DEPLOYMENT_PREFIX, ChatRequest

SHAPES_KEPT = 512


@dataclass(frozen=True, slots=True)
class Profile:
    """`capable`: positions that could serve the shape; `wanted`: those of them that meet every preference too.

    `hard`: position -> what rules it out; `soft`: position -> the preferences it misses. `block`: by position, lower is
    tried first: what was asked for by name, then by fallback tier. `quality`, `quality_sd`: by position, for the task.
    `excluded`: the exclusions of everything outside `wanted`, in the order of the catalog. `fields`: the memo of field.py.
    """

    capable: list[int]
    wanted: list[int]
    hard: dict[int, Reason]
    soft: dict[int, tuple[Reason, ...]]
    block: list[int]
    quality: list[float]
    quality_sd: list[float]
    excluded: tuple[Exclusion, ...]
    smallest_window: int
    fields: dict[Any, Any]


def profile_of(compiled: Compiled, request: ChatRequest, task: str, min_quality: float | None) -> Profile:
    """The profile of the request's shape. `min_quality`: the request's, or that of its task's policy.

    Raises RequestError `unknown_model`, with the names that come close.
    """
    routing = request.routing
    key = (
        request.model, request.needs, task, routing.tier, routing.region, min_quality, routing.fallback,
        None if routing.allow is None else tuple(routing.allow), tuple(routing.deny or ()),
    )  # fmt: skip
    known: Profile | None = compiled.profiles.get(key)
    if known is not None:
        return known
    made = _make(compiled, request, task, min_quality)
    if len(compiled.profiles) >= SHAPES_KEPT:
        compiled.profiles.clear()
    compiled.profiles[key] = made
    return made


def _make(compiled: Compiled, request: ChatRequest, task: str, min_quality: float | None) -> Profile:
    block = _blocks(compiled, request)
    believed = [
        compiled.qualities.of(position, task, _quality(model, task)) for position, model in enumerate(compiled.models)
    ]
    quality, quality_sd = [mean for mean, _ in believed], [sd for _, sd in believed]
    hard: dict[int, Reason] = {}
    soft: dict[int, tuple[Reason, ...]] = {}
    for position in range(len(compiled.ids)):
        # A model that was not asked for is left out as such, whatever else it lacks.
        missing = Reason.MODEL if block[position] < 0 else capability(compiled, position, request)
        if missing:
            hard[position] = missing
            continue
        missed = preferences(compiled, position, request, quality[position], min_quality)
        if missed:
            soft[position] = missed
    capable = [position for position in range(len(compiled.ids)) if position not in hard]
    excluded = [Exclusion(compiled.index[position], reason.value, 0) for position, reason in hard.items()]
    excluded += [Exclusion(compiled.index[position], missed[0].value, 0) for position, missed in soft.items()]
    return Profile(
        capable, [position for position in capable if position not in soft], hard, soft, block, quality, quality_sd,
        tuple(sorted(excluded, key=lambda exclusion: exclusion.index)),
        min((compiled.window[position] for position in capable), default=0), {},
    )  # fmt: skip


def _quality(model: Model, task: str) -> float:
    """The profile's quality for the task; without one the mean of those it has."""
    known: dict[Any, float] = model.quality
    if task in known:
        return known[task]
    return sum(known.values()) / len(known) if known else UNKNOWN_QUALITY


def _blocks(compiled: Compiled, request: ChatRequest) -> list[int]:
    """By position: its block, or -1 for a model that was not asked for.

    Blocks count by fours: the deployment named, the model named, others; each split by fallback tier. A model
    that was not named serves only in a lower tier than the best tier of the named one, and only if fallback is allowed.
    """
    tiers = compiled.tier
    if request.model == "auto":
        return list(tiers)
    named = -1
    if request.model.startswith(DEPLOYMENT_PREFIX):
        name = request.model.removeprefix(DEPLOYMENT_PREFIX)
        if name not in compiled.position:
            raise _unknown(request.model, "deployment", name, compiled.ids)
        named = compiled.position[name]
        model = compiled.models[named].id
    else:
        model = request.model
        if model not in compiled.by_model:
            raise _unknown(model, "deployment of a model", model, list(compiled.by_model))
    same = set(compiled.by_model[model])
    best = tiers[named] if named >= 0 else min(tiers[position] for position in same)
    fallback = request.routing.fallback
    width = len(FALLBACK_TIERS)
    blocks = []
    for position, tier in enumerate(tiers):
        if position == named or (named < 0 and position in same):
            blocks.append(tier)
        elif position in same and fallback:
            blocks.append(width + tier)
        elif fallback and tier > best:
            blocks.append(2 * width + tier)
        else:
            blocks.append(-1)
    return blocks


def _unknown(asked: str, kind: str, name: str, known: list[str]) -> RequestError:
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "name one of the catalog, or `auto`."
    shown = asked if len(asked) <= 100 else asked[:100] + "..."
    return RequestError("unknown_model", f"There is no {kind} called {shown}; {hint}", param="model")
