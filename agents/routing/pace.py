"""What health, lengths and prices make of a field: cost, time, success as arrays by place. Made once a change of them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.routing.compiled import Compiled
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
from agents.routing.learned import Facts


class Pace:
    """Owns the arrays by place. `template`: float32 (places, ESTIMATE_FIELDS) with what no request changes; `rates`:
    what the rest is reckoned from.

    `success_sd` and the relative `cost_spread`, `time_spread` are one standard deviation. `success_now`, `slower`: as
    Lately has them, `hold`: the share of `success` that holds now. `realised`: what calls of the task came to against
    these estimates as they hold now, None where none was made, and `realised_in` x tokens in + `realised_out` in cost.
    `sums` and its kin: memos of the utilities.
    """

    def __init__(
        self,
        compiled: Compiled,
        at: Any,
        quality: Column,
        wanted: Any,
        length_sd: list[float],
        factors: Any,
        realised: Realised | None = None,
    ) -> None:
        learned = compiled.learned
        wanted = np.minimum(wanted, np.array(compiled.max_out)[at])
        success = learned.success[at]
        priced = factors / (success * MILLION)
        cost_in, cost_out = compiled.prices_in[at] * priced, compiled.prices_out[at] * wanted * priced
        ms = learned.first_ms[at] + learned.token_ms[at] * wanted
        self.times: list[float] = ms.tolist()
        per_call, per_request = compiled.per_call[at], compiled.per_request[at]
        requests_free = 1 - learned.requests[at] * per_request
        tokens_free = 1 - learned.tokens[at] * compiled.per_token[at]
        self.rates = Rates(cost_in, cost_out, ms, ms * per_call, per_call, per_request, requests_free, tokens_free)
        self.weights = compiled.weights[at]
        self.facts = [learned.facts[position] for position in at.tolist()]
        self.success_sd = [fact.success_sd for fact in self.facts]
        self.cost_spread = [
            math.hypot(fact.success_sd / fact.success, sd) for fact, sd in zip(self.facts, length_sd, strict=True)
        ]
        self.time_spread = [fact.time_spread for fact in self.facts]
        self.latest_ms: Column = latest_ms(self.facts)
        self.success_now: Column = np.array([fact.lately.success for fact in self.facts])
        self.slower: Column = np.array([fact.lately.slower for fact in self.facts])
        self.hold: Column = self.success_now / success
        self.template = np.zeros((len(at), len(ESTIMATE_FIELDS)), dtype="<f4")
        self.template[:, TOKENS_OUT] = wanted
        self.template[:, MS] = ms
        self.template[:, SUCCESS] = success
        self.template[:, LOWER] = learned.lower[at]
        self.template[:, QUALITY] = quality
        self.quality: Column = self.template[:, QUALITY].astype(np.float64)
        self.qualities: list[float] = self.quality.tolist()
        self.lacking: Column = -self.quality
        self.success: Column = self.template[:, SUCCESS].astype(np.float64)
        self.lower: Column = self.template[:, LOWER].astype(np.float64)
        self.sums: dict[object, Any] = {}
        self.sums_now: dict[object, Any] = {}
        self.sums_realised: dict[object, Any] = {}
        self.realised: Ratios | None = None
        if realised is not None:
            first, token = learned.first_ms[at], learned.token_ms[at]
            told = ratios(realised, at, success, first, token, wanted)
            lasting = told.tries / self.hold
            self.realised = told._replace(success=np.minimum(1.0, told.success * self.hold), tries=lasting)
            self.realised_in: Column = cost_in * lasting
            self.realised_out: Column = cost_out * told.length * lasting

    def estimates(self, size_in: int, loads: Column | None) -> tuple[Table, Column, Column]:
        """The table of a request, its costs and its times. `loads`: calls under way by place."""
        table = self.template.copy()
        cost, ms = self.rates.estimate(table, size_in, loads)
        return table, cost, ms


def latest_ms(facts: Sequence[Facts]) -> Column:
    """The p99 of the time; infinite where too few calls tell it."""
    return np.array([fact.p99_ms or math.inf for fact in facts])
