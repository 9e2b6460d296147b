"""What health, lengths and prices make of a field: cost, time, success as arrays by place. Made once a change of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.routing.compiled import Compiled
from agents.routing.estimates import (
    COST,
    ESTIMATE_FIELDS,
    LOWER,
    MILLION,
    MS,
    QUALITY,
    SUCCESS,
    TOKENS_IN,
    TOKENS_OUT,
    Column,
    Table,
)
from agents.routing.evidence import Ratios, ratios
from agents.routing.experience import Realised


class Pace:
    """Owns the arrays by place. `template`: float32 (places, ESTIMATE_FIELDS) with what no request changes.

    Cost of a request is `cost_in` x tokens in + `cost_out`, nano-USD a success; `ms` to the last token at p75 without
    a queue, and `ms_busy` what a call under way adds; `requests_free`, `tokens_free`: the share left of this minute's
    limits. `length_sd`: of the mean tokens of an answer, relative. `success_now`, `slower`: as Lately has them, `hold`:
    the share of `success` that holds now. `realised`: what calls of the task came to against these estimates as they
    hold now, None where none was made. `orders`, `sums` and its kin: memos of strategies and utilities. Lists are the
    float32 columns.
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
        self.cost_in: Column = compiled.prices_in[at] * priced
        self.cost_out: Column = compiled.prices_out[at] * wanted * priced
        self.ms: Column = learned.first_ms[at] + learned.token_ms[at] * wanted
        self.per_call, self.per_request = compiled.per_call[at], compiled.per_request[at]
        self.ms_busy: Column = self.ms * self.per_call
        self.times: list[float] = self.ms.tolist()
        self.requests_free: Column = 1 - learned.requests[at] * self.per_request
        self.tokens_free = 1 - learned.tokens[at] * compiled.per_token[at]
        self.weights = compiled.weights[at]
        self.length_sd = length_sd
        self.facts = [learned.facts[position] for position in at.tolist()]
        self.success_now: Column = np.array([fact.lately.success for fact in self.facts])
        self.slower: Column = np.array([fact.lately.slower for fact in self.facts])
        self.hold: Column = self.success_now / success
        self.template = np.zeros((len(at), len(ESTIMATE_FIELDS)), dtype="<f4")
        self.template[:, TOKENS_OUT] = wanted
        self.template[:, MS] = self.ms
        self.template[:, SUCCESS] = success
        self.template[:, LOWER] = learned.lower[at]
        self.template[:, QUALITY] = quality
        self.quality: Table = self.template[:, QUALITY].copy()
        self.qualities: list[float] = self.quality.tolist()
        self.lacking: list[float] = (-self.quality).tolist()
        self.success: Table = self.template[:, SUCCESS].copy()
        self.lower: Table = self.template[:, LOWER].copy()
        self.orders: dict[object, Sequence[int]] = {}
        self.sums: dict[object, Any] = {}
        self.sums_now: dict[object, Any] = {}
        self.sums_realised: dict[object, Any] = {}
        self.realised: Ratios | None = None
        if realised is not None:
            first, token = learned.first_ms[at], learned.token_ms[at]
            told = ratios(realised, at, success, first, token, wanted)
            lasting = told.tries / self.hold
            self.realised = told._replace(success=np.minimum(1.0, told.success * self.hold), tries=lasting)

    def estimates(self, size_in: int, loads: Column | None) -> Table:
        """The table of a request. `loads`: calls under way by place."""
        table = self.template.copy()
        table[:, TOKENS_IN] = size_in
        table[:, COST] = self.cost_in * size_in + self.cost_out
        if loads is not None:
            table[:, MS] = self.ms + self.ms_busy * loads
        return table
