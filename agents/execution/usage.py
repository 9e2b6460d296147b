"""What a call costs: exact integer arithmetic, rounded once."""

from agents.execution.outcome import Usage
from schemas.catalog import Prices
from schemas.units import round_cost, tokens_cost


def cost_nano(prices: Prices, usage: Usage) -> int:
    """Nano-USD of what was used: each input token at exactly one price; reasoning is part of the output."""
    price_in, price_out, price_read, price_write = prices.nano
    fresh = usage.tokens_in - usage.cached - usage.cache_write
    assert fresh >= 0, "cached and cache_write are parts of tokens_in"
    return round_cost(
        tokens_cost(fresh, price_in)
        + tokens_cost(usage.cached, price_read)
        + tokens_cost(usage.cache_write, price_write)
        + tokens_cost(usage.tokens_out, price_out)
    )


def reserve_nano(prices: Prices, tokens_in: int, tokens_out: int) -> int:
    """Nano-USD to reserve for a call: no token of the prompt is assumed to be cached."""
    price_in, price_out, _, _ = prices.nano
    return round_cost(tokens_cost(tokens_in, price_in) + tokens_cost(tokens_out, price_out))
