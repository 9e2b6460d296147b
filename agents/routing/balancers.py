"""Balancers: which of several equal replicas takes the request. A balancer is one function in BALANCERS."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from math import ceil, gcd, lcm, log

from agents.routing.kernel.columns import speeds
from agents.routing.kernel.drawing import drawn, mixed
from agents.routing.kernel.lookup import picked
from agents.routing.kernel.ranking import lowest
from agents.routing.setting import Setting

Balancer = Callable[[list[int], Setting, int], int]
"""(places of the replicas in order of their ids, setting, turn of this group) -> the place chosen."""
LONGEST_CYCLE = 1_000
BOUNDED_LOAD = 1.25
CLAMP = 4.0
"""Adaptive weights stay within a quarter and four times the configured ones."""
UNIT = 1 << 64


def round_robin(replicas: list[int], setting: Setting, turn: int) -> int:
    """Each in its turn."""
    return replicas[turn % len(replicas)]


def weighted_round_robin(replicas: list[int], setting: Setting, turn: int) -> int:
    """Each as often as its weight says, spread evenly over the cycle (the smooth form that nginx uses)."""
    cycle = smooth_cycle(tuple(_weight(setting, k) for k in replicas))
    return replicas[cycle[turn % len(cycle)]]


def least_connections(replicas: list[int], setting: Setting, turn: int) -> int:
    """The fewest calls under way for its weight, this one included; equals in their turn.

    With several workers only the better of two drawn by weight, so that all do not herd onto the same.
    """
    if setting.view.workers > 1 and len(replicas) > 2:
        # Drawn evenly, a replica would get twice its even share at most, however much it weighs.
        weights = [_weight(setting, k) for k in replicas]
        replicas = sorted({drawn(weights, replicas, setting.seed), drawn(weights, replicas, mixed(setting.seed))})
    least = lowest(setting.crowding(), replicas)
    return least[turn % len(least)]


def least_response_time(replicas: list[int], setting: Setting, turn: int) -> int:
    """The shortest peak EWMA times calls under way (this one included), divided by success and weight."""
    flying, success = setting.in_flight(), setting.pace.success
    times = response_ms(replicas, setting)
    waits = [
        time * (flying[k] + 1) / success.item(k) / _weight(setting, k) for k, time in zip(replicas, times, strict=True)
    ]
    return _least(waits, replicas, turn)


def consistent_hash(replicas: list[int], setting: Setting, turn: int) -> int:
    """Weighted rendezvous on the session: a lost replica moves only its own sessions. Nobody above 1.25 of its share.

    A request without a session hashes its seed.
    """
    flying, names = setting.in_flight(), setting.field.names
    base = blake2b(str(setting.key).encode(), digest_size=8)
    worth = []
    for k in replicas:
        digest = base.copy()
        digest.update(b"\0" + names[k].encode())
        unit = (int.from_bytes(digest.digest(), "big") + 1) / (UNIT + 1)
        worth.append((_weight(setting, k) / -log(unit) if unit < 1 else float("inf"), k))
    worth.sort(key=lambda pair: (-pair[0], pair[1]))
    total = sum(flying[k] for k in replicas) + 1
    weights = sum(_weight(setting, k) for k in replicas)
    for _, k in worth:
        if flying[k] + 1 <= ceil(BOUNDED_LOAD * total * _weight(setting, k) / weights):
            return k
    return worth[0][1]


def adaptive_weighted(replicas: list[int], setting: Setting, turn: int) -> int:
    """Drawn by weights that follow success and time (health decays, so slowly) within a quarter and four times."""
    times, success = response_ms(replicas, setting), setting.pace.success
    usual = sum(times) / len(times)
    shares = [
        _weight(setting, k) * min(CLAMP, max(1 / CLAMP, success.item(k) * usual / max(time, 1e-9)))
        for k, time in zip(replicas, times, strict=True)
    ]
    return drawn(shares, replicas, setting.seed)


def performance_based(replicas: list[int], setting: Setting, turn: int) -> int:
    """Drawn in proportion to success x speed."""
    shares = speeds(setting.pace.success, response_ms(replicas, setting), replicas)
    return drawn(shares, replicas, setting.seed)


def token_aware(replicas: list[int], setting: Setting, turn: int) -> int:
    """The largest free share of tokens a minute, those in flight counted; then the fewest in flight for its weight."""
    tokens = setting.view.tokens_in_flight or {}
    limits, counted, names = setting.compiled.limits, setting.pace.tokens, setting.field.names
    members, flying = setting.field.members, setting.in_flight()
    keys = []
    for k in replicas:
        limit, busy = limits[members[k]].tokens_per_minute, tokens.get(names[k], 0)
        used = (counted[k] + busy) / limit if limit else 0.0
        keys.append((used, busy / _weight(setting, k), (flying[k] + 1) / _weight(setting, k)))
    return _least(keys, replicas, turn)


def _weight(setting: Setting, k: int) -> float:
    return setting.field.weight[k]


def response_ms(replicas: list[int], setting: Setting) -> list[float]:
    """The worker's own peak EWMA where there is one, else the time that health says."""
    known, names, times = setting.view.response_ms, setting.field.names, setting.pace.times
    if not known:
        return picked(times, replicas)
    return [known.get(names[k], times[k]) for k in replicas]


def _least(keys: Sequence[float] | Sequence[tuple[float, ...]], replicas: Sequence[int], turn: int) -> int:
    """The least key; equals in their turn."""
    least = min(keys)
    equals = [k for k, key in zip(replicas, keys, strict=True) if key == least]
    return equals[turn % len(equals)]


@lru_cache(maxsize=1024)
def smooth_cycle(weights: tuple[float, ...]) -> tuple[int, ...]:
    """Places of one cycle. Weights count to a hundredth, and are rounded where it would pass 1,000 places."""
    parts = [max(Fraction(weight).limit_denominator(100), Fraction(1, 100)) for weight in weights]
    scale = lcm(*(part.denominator for part in parts))
    whole = [int(part * scale) for part in parts]
    common = gcd(*whole)
    whole = [weight // common for weight in whole]
    total = sum(whole)
    if total > LONGEST_CYCLE:
        whole = [max(1, weight * LONGEST_CYCLE // total) for weight in whole]
        total = sum(whole)
    current = [0] * len(whole)
    cycle = []
    for _ in range(total):
        current = [have + weight for have, weight in zip(current, whole, strict=True)]
        place = max(range(len(whole)), key=current.__getitem__)
        current[place] -= total
        cycle.append(place)
    return tuple(cycle)


BALANCERS: dict[str, Balancer] = {
    "round_robin": round_robin,
    "weighted_round_robin": weighted_round_robin,
    "least_connections": least_connections,
    "least_response_time": least_response_time,
    "consistent_hash": consistent_hash,
    "adaptive_weighted": adaptive_weighted,
    "performance_based": performance_based,
    "token_aware": token_aware,
}
