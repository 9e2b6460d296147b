"""Money: reserved before a call, incurred after it. Amounts are nano-USD."""

from dataclasses import dataclass

from schemas.events.base import RequestEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEvent(RequestEvent):
    """`cost_id` joins a reservation with what settles it: one an attempt."""

    cost_id: str
    number: int
    nano_usd: int
    deployment: str
    provider: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReserved(CostEvent):
    """Held until CostIncurred settles it, or until `deadline_at` (microseconds) + 30 s, when it is charged as estimated."""

    deadline_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CostIncurred(CostEvent):
    """`certainty`: certain | estimated. Raw usage and the price version stay with it, so that history can be re-priced."""

    certainty: str
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    tokens_cache_write: int
    tokens_reasoning: int
    price_version: str
