"""What follows a failed attempt: another deployment, a wait, the same one again, or the final error."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agents.execution.outcome import Failed
from schemas.catalog import Catalog
from schemas.errors import RequestError
from schemas.events import PlanStep
from schemas.failures import Failure
from schemas.responses import AttemptSummary

MAX_WAIT_S = 5.0
RETRY_BACKOFF_S = (0.05, 0.15)


@dataclass(frozen=True, slots=True)
class Next:
    """What follows a failure: `action` same | other | wait | none | retry_budget, after `pause_s`, with these steps left.

    `retry_budget`: something was left to try, and the retry budgets of all of it are spent.
    """

    action: str
    steps: list[PlanStep]
    pause_s: float = 0.0


def following(
    failed: Failed, steps: list[PlanStep], tried: Sequence[AttemptSummary], catalog: Catalog, *, most: int,
    remaining_s: float, allowed: Callable[[str], bool], jitter: float,
) -> Next:  # fmt: skip
    """The step after `failed`, the outcome of steps[0]. `tried`: the attempts before it. `most`: attempts a request may
    make. `allowed`: whether the retry budget of a deployment has an extra call left. `jitter`: 0..1."""
    here = steps[0].deployment
    rest = _others(failed, steps, catalog)
    if failed.elsewhere and len(tried) + 1 < most and allowed(here):
        # Another credential of the same deployment: at once, and it says nothing about the deployment.
        return Next("same", steps)
    # Another deployment is free: a second call on the one that just failed would only add to its trouble.
    if within := [step for step in rest if allowed(step.deployment)]:
        return Next("other", within)
    held = Next("retry_budget" if rest else "none", [])
    if len(tried) + 1 >= most:
        return held
    wait_s = (failed.retry_after_ms or 0) / 1000
    waits = failed.failure is Failure.RATE_LIMITED and 0 < wait_s <= min(MAX_WAIT_S, remaining_s / 4)
    again = any(attempt.deployment == here for attempt in tried)
    repeats = failed.same and not again and remaining_s > RETRY_BACKOFF_S[1]
    if not waits and not repeats:
        return held
    if not allowed(here):
        return Next("retry_budget", [])
    if waits:
        return Next("wait", steps[:1], wait_s)
    least, longest = RETRY_BACKOFF_S
    return Next("same", steps[:1], least + jitter * (longest - least))


def _others(failed: Failed, steps: list[PlanStep], catalog: Catalog) -> list[PlanStep]:
    rest = steps[1:]
    if failed.other == "none":
        return []
    if failed.other == "any":
        return rest

    def window(step: PlanStep) -> int:
        return catalog.model_by_id[catalog.deployment_by_id[step.deployment].model].context_window

    return [step for step in rest if window(step) > window(steps[0])]


def exhausted(tried: Sequence[AttemptSummary], failed: Failed, *, held_back: bool) -> RequestError:
    """The final error of a plan that came to its end with this failure. `held_back`: by the retry budget."""
    names = ", ".join(f"{attempt.deployment}: {attempt.failure}" for attempt in tried if attempt.failure)
    if failed.ours:
        return RequestError("internal", f"Turnout could not send the request ({names}); report it with the request id.")
    match failed.failure:
        case Failure.INVALID_REQUEST:
            said = failed.rejection or "The provider refused the request as invalid"
            return RequestError("provider_rejected", f"{said} ({names}); correct the body.")
        case Failure.CONTEXT_LENGTH:
            message = f"The request is longer than every context window tried ({names}); shorten the messages."
            return RequestError("context_length_exceeded", message)
        case Failure.TOO_LARGE:
            return RequestError(
                "request_too_large", f"Every provider refused the size ({names}); send a smaller request."
            )
        case Failure.CONTENT_FILTERED:
            return RequestError("content_filtered", f"The provider's filter refused it ({names}); change the content.")
    if held_back:
        message = f"Attempts failed ({names}) and the retry budget of what is left is spent; try again in a moment."
    else:
        message = f"Every attempt failed ({names}); try again, or allow more deployments."
    return RequestError("all_attempts_failed", message, retry_after_ms=failed.retry_after_ms or 1_000)
