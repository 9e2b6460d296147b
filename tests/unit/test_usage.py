"""The price of a call, and how usage is read."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.execution.outcome import UNKNOWN_USAGE, Usage
from agents.execution.providers.openai_compatible import read_usage
from agents.execution.usage import cost_nano, reserve_nano
from schemas.catalog import Prices

PRICES = Prices(input=0.25, output=2.0, cache_read=0.025, cache_write=0.3125)


def test_each_input_token_has_one_price() -> None:
    usage = Usage(tokens_in=1000, tokens_out=100, cached=600, cache_write=300, reasoning=80)
    assert cost_nano(PRICES, usage) == 100 * 250 + 600 * 25 + 312.5 * 300 + 100 * 2000


def test_cache_prices_default_to_the_input_price() -> None:
    prices = Prices(input=3.0, output=15.0)
    assert cost_nano(prices, Usage(10, 0, cached=4, cache_write=5)) == cost_nano(prices, Usage(10, 0)) == 30_000


def test_rounded_once() -> None:
    # Three parts of 0.4 nano-USD each: rounded one by one they would be nothing.
    prices = Prices(input=0.0004, output=0.0004, cache_read=0.0004)
    assert cost_nano(prices, Usage(2, 1, cached=1)) == 1


def test_a_reservation_assumes_no_cache() -> None:
    assert reserve_nano(PRICES, 1000, 100) == 1000 * 250 + 100 * 2000
    assert reserve_nano(Prices(), 1000, 100) == 0


@given(
    fresh=st.integers(0, 10**7),
    cached=st.integers(0, 10**7),
    write=st.integers(0, 10**7),
    out=st.integers(0, 10**7),
    prices=st.tuples(*[st.decimals(0, 1000, places=4)] * 4),
)
def test_exact_to_the_nano(fresh: int, cached: int, write: int, out: int, prices: tuple[Decimal, ...]) -> None:
    price_in, price_out, read, written = prices
    exact = fresh * price_in + out * price_out + cached * read + write * written
    expected = int((exact * 1000).to_integral_value(rounding=ROUND_HALF_UP))
    given_prices = Prices(
        input=float(price_in), output=float(price_out), cache_read=float(read), cache_write=float(written)
    )
    assert cost_nano(given_prices, Usage(fresh + cached + write, out, cached, write)) == expected


def test_usage_of_openai() -> None:
    read = read_usage(
        {
            "prompt_tokens": 2000,
            "completion_tokens": 90,
            "total_tokens": 2090,
            "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 64},
        }
    )
    assert read == Usage(tokens_in=2000, tokens_out=90, cached=1024, cache_write=0, reasoning=64)
    assert read_usage({"prompt_tokens": 3, "completion_tokens": 0, "prompt_tokens_details": None}) == Usage(3, 0)


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        {},
        {"prompt_tokens": 3},
        {"prompt_tokens": -3, "completion_tokens": 1},
        {"prompt_tokens": 3.0, "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": "3", "completion_tokens": 1},
        {"prompt_tokens": 10**18, "completion_tokens": 1},
    ],
)
def test_usage_that_is_none(given: Any) -> None:
    assert read_usage(given) == UNKNOWN_USAGE


def test_impossible_parts_are_dropped_and_make_it_uncertain() -> None:
    more_cached = {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 6}}
    assert read_usage(more_cached) == Usage(5, 1, certain=False)
    more_thought = {"prompt_tokens": 5, "completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 2}}
    assert read_usage(more_thought) == Usage(5, 1, certain=False)
    unreadable = {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": "4"}}
    assert read_usage(unreadable) == Usage(5, 1, certain=False)
