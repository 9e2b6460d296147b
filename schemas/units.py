"""Quantities. Money is integer nano-USD; prices are integer nano-USD per million tokens; instants are integer microseconds."""

from datetime import UTC, datetime
from decimal import Decimal

NANO = 1_000_000_000
MICROS_PER_MS = 1_000
MICROS_PER_S = 1_000_000


def usd_to_nano(usd: float | str | Decimal) -> int:
    """US dollars as integer nano-USD, rounded half to even on the decimal text (0.1 is exactly 100,000,000)."""
    return int((Decimal(str(usd)) * NANO).to_integral_value())


def nano_to_usd(nano: int) -> float:
    """Nano-USD as US dollars, for people."""
    return nano / NANO


def usd_text(nano: int) -> str:
    """Nano-USD as US dollars to the last digit that is not 0, for sentences: 0.00001, 12.5."""
    return f"{Decimal(nano) / NANO:.9f}".rstrip("0").rstrip(".")


def tokens_cost(tokens: int, nano_per_million: int) -> int:
    """Price of `tokens` in units of a millionth of a nano-USD: add these up, then round once with `round_cost`."""
    return tokens * nano_per_million


def round_cost(micro_nano: int) -> int:
    """Nano-USD of a sum of `tokens_cost` values, rounded half up, once an answer."""
    return (micro_nano + 500_000) // 1_000_000


def iso(micros: int) -> str:
    """An instant as ISO 8601 in UTC with microseconds."""
    return datetime.fromtimestamp(micros / MICROS_PER_S, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def clock_text(micros: int) -> str:
    """An instant as `12:00:41Z`, for sentences."""
    return datetime.fromtimestamp(micros / MICROS_PER_S, UTC).strftime("%H:%M:%SZ")
