"""What calls of a task came to against what was expected of them, so that calls of other sizes tell about this one."""

from typing import Any, NamedTuple

import numpy as np

from agents.routing.estimates import Column
from agents.routing.experience import Realised

PRIOR_SPREAD = 0.022
"""One standard deviation of the truth around the estimates' utility, what is doubted of quality aside."""
CALL_SPREAD = 0.03
"""One standard deviation of a single call's utility."""


class Ratios(NamedTuple):
    """By place; without evidence 1 or the estimate.

    `success`: the realised share; `tries`: calls a success over those estimated; `length`: the deployment's own mean
    answer over its model's; `time`: mean time over the time estimated for that length. `variance`: of the utility after
    so many calls, and `prior`: how much the estimates' weighs in it.
    """

    success: Column
    tries: Column
    length: Column
    time: Column
    variance: Column
    prior: Column


def ratios(realised: Realised, at: Any, success: Any, first_ms: Any, token_ms: Any, wanted: Any) -> Ratios:
    """At the places `at` of a field. `success`, `first_ms`, `token_ms`: its estimates; `wanted`: tokens of an answer."""
    calls, own = realised.calls[at], realised.success[at]
    tokens, ms = realised.tokens_out[at], realised.ms[at]
    told = ms > 0
    share = np.where(calls > 0, own, success)
    # Answers shorter than a cap tell nothing about being cut: a length never counts above what is wanted.
    length = np.where(tokens > 0, np.minimum(tokens, wanted) / wanted, 1.0)
    expected = first_ms + token_ms * np.where(tokens > 0, tokens, wanted)
    # Weights are inverse variances, so a few calls move what is uncertain, and many are believed over any estimate.
    variance = 1 / (1 / PRIOR_SPREAD**2 + calls / CALL_SPREAD**2)
    time = np.where(told, ms / expected, 1.0)
    return Ratios(share, success / share, length, time, variance, variance / PRIOR_SPREAD**2)
