"""What health, lengths and prices make of a field: cost, time, success as arrays by place. Made once a change of them."""

from typing import Any

import numpy as np

from agents.routing.compiled import Offer
from agents.routing.estimates import (
    ESTIMATE_FIELDS,
    LOWER,
    MILLION,
    MS,
    QUALITY,
    SUCCESS,
    TOKENS_OUT,
    Column,
    Table,
)
from agents.routing.evidence import Ratios, ratios
from agents.routing.experience import Realised
from agents.routing.kernel.columns import Rates
from agents.routing.kernel.confidence import Spreads
from agents.routing.learned import Columns


class Pace:
    """Owns the arrays by place. `template`: float32 (places, ESTIMATE_FIELDS) with what no request changes; `rates`:
    what the rest is reckoned from.

    `times`, `tokens`, `p99_ms`: of `told`, as lists; `latest_ms`: `p99_ms`, infinite where too few calls tell it.
    `spreads`: standard deviations, `success_sd` one of them. `success_now`, `slower`: as Lately has them, `hold`: the
    share of `success` that holds now. `realised`: what calls of the task came to against these estimates as they hold now,
    None where none was made, and `realised_in` x tokens in + `realised_out` in cost.
    `sums` and its kin: memos of the utilities; `doubts`: of their standard deviations.
    """

    def __init__(
        self,
        told: Columns,
        offer: Offer,
        at: Any,
        quality: Column,
        quality_sd: Column,
        wanted: Any,
        length_sd: Any,
        factors: Any,
        realised: Realised | None = None,
    ) -> None:
        wanted = np.minimum(wanted, offer.max_out)
        success = told.success
        priced = factors / (success * MILLION)
        cost_in, cost_out = offer.price_in * priced, offer.price_out * wanted * priced
        ms = told.first_ms + told.token_ms * wanted
        requests_free = 1 - told.requests * offer.per_request
        tokens_free = 1 - told.tokens * offer.per_token
        self.rates = Rates(
            cost_in, cost_out, ms, ms * offer.per_call, offer.per_call, offer.per_request, requests_free, tokens_free
        )
        self.weights = offer.weight
        self.times: list[float] = ms.tolist()
        self.tokens: list[float] = told.tokens.tolist()
        self.p99_ms: list[float] = told.p99_ms.tolist()
        self.latest_ms = latest_ms(told.p99_ms)
        cost_spread = np.hypot(told.success_sd / success, length_sd)
        self.spreads = Spreads(cost_spread, told.time_spread, quality_sd, told.success_sd)
        self.success_sd = told.success_sd
        self.success_now, self.slower = told.success_now, told.slower
        self.hold: Column = self.success_now / success
        self.template = np.zeros((len(ms), len(ESTIMATE_FIELDS)), dtype="<f4")
        self.template[:, TOKENS_OUT] = wanted
        self.template[:, MS] = ms
        self.template[:, SUCCESS] = success
        self.template[:, LOWER] = told.lower
        self.template[:, QUALITY] = quality
        self.quality: Column = self.template[:, QUALITY].astype(np.float64)
        self.qualities: list[float] = self.quality.tolist()
        self.lacking: Column = -self.quality
        # Both were rounded to float32 as they were learned.
        self.success, self.lower = success, told.lower
        self.sums: dict[object, Any] = {}
        self.sums_now: dict[object, Any] = {}
        self.sums_realised: dict[object, Any] = {}
        self.doubts: dict[float, Table] = {}
        self.realised: Ratios | None = None
        if realised is not None:
            seen = ratios(realised, at, success, told.first_ms, told.token_ms, wanted)
            lasting = seen.tries / self.hold
            self.realised = seen._replace(success=np.minimum(1.0, seen.success * self.hold), tries=lasting)
            self.realised_in: Column = cost_in * lasting
            self.realised_out: Column = cost_out * seen.length * lasting

    def estimates(self, size_in: int, loads: Column | None) -> tuple[Table, Column, Column]:
        """The table of a request, its costs and its times. `loads`: calls under way by place."""
        table = self.template.copy()
        cost, ms = self.rates.estimate(table, size_in, loads)
        return table, cost, ms


def latest_ms(p99_ms: Column) -> Column:
    """The p99 of the time; infinite where it is 0 because too few calls tell it."""
    latest: Column = np.where(p99_ms > 0, p99_ms, np.inf)
    return latest
