"""The catalog of today's models: facts of models.yaml with the prices that genai-prices knows for a date."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from schemas.catalog import Model
from schemas.errors import OperationError

FACTS = Path(__file__).with_name("models.yaml")


@dataclass(frozen=True, slots=True)
class Known:
    """A model as the catalog knows it. `provider`: wire format; `priced_as`: provider/model in genai-prices, "" if free.

    `long_context`: (tokens from which on dearer prices hold, input, output) in USD per million, where there are any.
    `price_version`, `price_date`: of the prices; `facts_version`, `facts_date`: of everything else.
    """

    model: Model
    provider: str
    priced_as: str
    long_context: tuple[int, float, float] | None
    price_version: str
    price_date: date
    facts_version: str
    facts_date: date


@lru_cache(maxsize=4)
def known_models(on: date) -> tuple[Known, ...]:
    """Every model with its prices on a day, in the order of the facts. Raises OperationError where a price is gone."""
    facts = yaml.safe_load(FACTS.read_bytes())
    return tuple(_known(fact, facts["version"], facts["date"], on) for fact in facts["models"])


def _known(fact: dict[str, Any], facts_version: str, facts_date: date, on: date) -> Known:
    priced_as = fact.get("priced_as", "")
    prices, long_context = _prices(priced_as, on) if priced_as else ({}, None)
    profile = {key: value for key, value in fact.items() if key not in ("provider", "priced_as")}
    return Known(
        model=Model.model_validate(profile | {"price_usd_per_million": prices}),
        provider=fact["provider"], priced_as=priced_as, long_context=long_context,
        price_version=f"genai-prices {version('genai-prices')}" if priced_as else "free", price_date=on,
        facts_version=facts_version, facts_date=facts_date,
    )  # fmt: skip


def _base(price: Any) -> float:
    return float(getattr(price, "base", price) or 0)


def _prices(priced_as: str, on: date) -> tuple[dict[str, float], tuple[int, float, float] | None]:
    # Two megabytes of tables: only for who asks.
    from genai_prices.data_snapshot import get_snapshot
    from genai_prices.types import TieredPrices

    provider, _, name = priced_as.partition("/")
    try:
        _, found = get_snapshot().find_provider_model(name, None, provider, None)
    except LookupError:
        raise OperationError(
            f"genai-prices has no price of {priced_as}; correct `priced_as` in {FACTS.name} or install another version."
        ) from None
    # Some sell cheaper at night; a budget counts on the dearest hour.
    hours = [found.get_prices(datetime.combine(on, time(hour), UTC)) for hour in range(24)]
    listed = max(hours, key=lambda prices: _base(prices.output_mtok))
    prices, tiers = {}, {}
    for ours, theirs in (
        ("input", "input_mtok"), ("output", "output_mtok"), ("cache_read", "cache_read_mtok"),
        ("cache_write", "cache_write_mtok"),
    ):  # fmt: skip
        price = getattr(listed, theirs)
        if isinstance(price, TieredPrices):
            tiers[ours] = price.tiers[0]
            price = price.base
        if price is not None:
            prices[ours] = float(price)
    if "input" not in tiers:
        return prices, None
    dearer = tiers["input"]
    output = float(tiers["output"].price) if "output" in tiers else prices["output"]
    return prices, (dearer.start, float(dearer.price), output)
