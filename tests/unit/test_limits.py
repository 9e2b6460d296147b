"""Rate limits on our side: the sliding minute, the shares of several workers, and what providers say is left."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.execution.headroom import Headroom, headroom_of
from agents.limits import RateLimits, Traffic, full_until, last_minute, sent, told, used_up_until
from schemas.catalog import Deployment
from schemas.units import MICROS_PER_S

NOW = 1_790_000_000 * MICROS_PER_S


def deployment(**limits: int) -> Deployment:
    return Deployment(id="d", provider="openai", model="m", base_url="http://h", limits=limits)


def test_headers_of_both_families() -> None:
    openai = {"x-ratelimit-remaining-requests": "7", "x-ratelimit-reset-requests": "1m2s",
              "x-ratelimit-remaining-tokens": "900", "x-ratelimit-reset-tokens": "120ms"}  # fmt: skip
    assert headroom_of(openai, now=0.0) == Headroom(7, 62_000, 900, 120)
    base = "anthropic-ratelimit-"
    anthropic = {f"{base}requests-remaining": "3", f"{base}requests-reset": "1970-01-01T00:00:10Z",
                 f"{base}input-tokens-remaining": "50", f"{base}input-tokens-reset": "1970-01-01T00:00:20Z",
                 f"{base}output-tokens-remaining": "40", f"{base}output-tokens-reset": "1970-01-01T00:00:30Z"}  # fmt: skip
    assert headroom_of(anthropic, now=5.0) == Headroom(3, 5_000, 40, 25_000)
    assert headroom_of({"content-type": "application/json"}, now=0.0) is None


def test_nonsense_is_not_believed() -> None:
    for remaining, reset in (("-1", "1s"), ("x", "1s"), ("5", ""), ("5", "soon"), ("9" * 40, "1s"), ("٣", "1s")):
        headers = {"x-ratelimit-remaining-requests": remaining, "x-ratelimit-reset-requests": reset}
        assert headroom_of(headers, now=0.0) is None, (remaining, reset)
    assert headroom_of({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9h"}, now=0.0) == (
        Headroom(0, 120_000)
    )


def test_the_minute_slides() -> None:
    limits, traffic = deployment(requests_per_minute=3).limits, Traffic()
    for second in (0, 20, 40):
        assert full_until(traffic, limits, NOW + second * MICROS_PER_S, 1) == 0
        traffic = sent(traffic, NOW + second * MICROS_PER_S, 1, 10)
    assert full_until(traffic, limits, NOW + 59 * MICROS_PER_S, 1) == NOW + 60 * MICROS_PER_S
    assert full_until(traffic, limits, NOW + 61 * MICROS_PER_S, 1) == 0
    assert last_minute(traffic, NOW + 61 * MICROS_PER_S) == (2, 20)
    assert last_minute(traffic, NOW + 200 * MICROS_PER_S) == (0, 0)


def test_tokens_are_counted_and_corrected() -> None:
    limits = deployment(tokens_per_minute=100).limits
    traffic = sent(Traffic(), NOW, 1, 150)
    assert full_until(traffic, limits, NOW, 1)
    assert full_until(sent(traffic, NOW, 0, -90), limits, NOW, 1) == 0


def test_what_the_provider_says_holds_until_its_reset() -> None:
    limits = deployment().limits
    traffic = told(Traffic(), Headroom(5, 10_000), NOW, under_way=3)
    for _ in range(2):
        assert full_until(traffic, limits, NOW, 1) == 0
        traffic = sent(traffic, NOW, 1, 10)
    assert full_until(traffic, limits, NOW, 1) == NOW + 10 * MICROS_PER_S
    assert full_until(traffic, limits, NOW + 10 * MICROS_PER_S, 1) == 0
    assert used_up_until(Headroom(0, 7_000, 9, 60_000), NOW) == NOW + 7 * MICROS_PER_S
    assert used_up_until(Headroom(1, 7_000), NOW) == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 4), st.lists(st.integers(0, 80), min_size=1, max_size=90))
def test_workers_together_stay_within_a_limit(limit: int, workers: int, demand: list[int]) -> None:
    """Every worker publishes once a second, at its own moment; what it reads of the others is up to a second older."""
    there = deployment(requests_per_minute=limit)
    each = [RateLimits(workers=workers) for _ in range(workers)]
    published: list[dict[str, tuple[int, int]]] = [{"d": (limit // workers, 0)} for _ in range(workers)]
    calls: list[int] = []
    for second, wanted in enumerate(demand):
        before = list(published)
        for turn, one in enumerate(each):
            now = NOW + second * MICROS_PER_S + turn
            others = [before[other] for other in range(workers) if other != turn]
            published[turn] = one.others_are(others, {"d": there}, now)
            for _ in range(wanted):
                if not one.is_full(there, now):
                    one.sent("d", now, 1, 1)
                    calls.append(second)
        assert sum(at > second - 60 for at in calls) <= limit


def test_two_workers_use_nearly_all_of_a_limit_however_uneven_they_are() -> None:
    there, each = deployment(requests_per_minute=600), [RateLimits(workers=2), RateLimits(workers=2)]
    counts: list[dict[str, tuple[int, int]]] = [{}, {}]
    used = [0, 0]
    for second in range(59):
        now = NOW + second * MICROS_PER_S
        for turn, one in enumerate(each):
            counts[turn] = one.others_are([counts[1 - turn]], {"d": there}, now)
            for _ in range((500, 1)[turn]):
                if not one.is_full(there, now):
                    one.sent("d", now, 1, 1)
                    used[turn] += 1
    assert 590 <= sum(used) <= 600
    assert used[0] > 500
