"""What follows a failed attempt, as a value."""

from collections.abc import Callable

import pytest

from agents.execution.classify import BY_STATUS
from agents.execution.outcome import Failed
from agents.following import Next, exhausted, following
from schemas.catalog import Catalog
from schemas.events import PlanStep
from schemas.failures import BEHAVIOUR, Failure
from schemas.responses import AttemptSummary

CATALOG = Catalog.model_validate({
    "models": [{"id": "small", "context_window": 1_000}, {"id": "large", "context_window": 9_000}],
    "deployments": [
        {"id": name, "provider": "openai", "model": model, "base_url": "http://h"}
        for name, model in (("a", "small"), ("b", "small"), ("c", "large"))
    ],
})  # fmt: skip
PLAN = [PlanStep(name, "primary") for name in "abc"]


def failed(failure: Failure, **more: object) -> Failed:
    usual = BEHAVIOUR[failure]
    fields = {"failure": failure, "http_status": 0, "latency_ms": 1.0, "retry_after_ms": None, "provider_code": "",
              "provider_request_id": "", "counts": usual.counts, "billed": usual.billed, "same": usual.same,
              "other": usual.other, "cool": usual.cool, "quarantine": usual.quarantine} | more  # fmt: skip
    return Failed(**fields)  # type: ignore[arg-type]


def after(
    outcome: Failed, plan: list[PlanStep], *, tried: str = "", allowed: Callable[[str], bool] = lambda _: True,
    remaining_s: float = 60.0,
) -> Next:  # fmt: skip
    before = [AttemptSummary(n, name, "primary", "failed", "timeout", 0, 1.0, 0) for n, name in enumerate(tried, 1)]
    return following(outcome, plan, before, CATALOG, most=4, remaining_s=remaining_s, allowed=allowed, jitter=0.5)


def names(follow: Next) -> str:
    return "".join(step.deployment for step in follow.steps)


@pytest.mark.parametrize("failure", Failure)
def test_another_deployment_comes_first(failure: Failure) -> None:
    follow = after(failed(failure), PLAN)
    wanted = {"any": ("other", "bc"), "larger": ("other", "c"), "none": ("none", "")}[BEHAVIOUR[failure].other]
    assert (follow.action, names(follow), follow.pause_s) == (*wanted, 0.0)


@pytest.mark.parametrize("failure", Failure)
def test_with_nobody_else_the_same_one_at_most_once(failure: Failure) -> None:
    follow = after(failed(failure), PLAN[:1])
    assert (follow.action, names(follow)) == (("same", "a") if BEHAVIOUR[failure].same else ("none", ""))
    assert after(failed(failure), PLAN[:1], tried="a").action == "none"
    assert after(failed(failure), PLAN[:1], remaining_s=0.1).action == "none"


def test_a_short_wait_is_waited_and_a_long_one_is_not() -> None:
    for wait_ms, remaining_s, action in ((4_000, 60.0, "wait"), (6_000, 60.0, "none"), (4_000, 8.0, "none")):
        outcome = failed(Failure.RATE_LIMITED, retry_after_ms=wait_ms)
        follow = after(outcome, PLAN[:1], remaining_s=remaining_s)
        assert (follow.action, follow.pause_s) == (action, 4.0 if action == "wait" else 0.0)


def test_a_spent_budget_passes_over_a_deployment_or_ends_the_request() -> None:
    outcome = failed(Failure.SERVER_ERROR)
    assert names(after(outcome, PLAN, allowed=lambda name: name != "b")) == "c"
    nobody = after(outcome, PLAN, allowed=lambda _: False)
    assert (nobody.action, nobody.steps) == ("retry_budget", [])
    assert after(outcome, PLAN[:1], allowed=lambda _: False).action == "retry_budget"
    # Where nothing was left anyway, it is not the budget's doing.
    assert after(failed(Failure.INVALID_REQUEST), PLAN, allowed=lambda _: False).action == "none"


def test_another_credential_is_tried_before_another_deployment() -> None:
    outcome = failed(Failure.AUTHENTICATION, elsewhere=True)
    assert (after(outcome, PLAN).action, names(after(outcome, PLAN))) == ("same", "abc")
    assert names(after(outcome, PLAN, allowed=lambda name: name != "a")) == "bc"


def test_every_status_has_a_behaviour() -> None:
    assert {verdict.failure for verdict in BY_STATUS.values()} <= BEHAVIOUR.keys()


def test_the_final_error_says_that_the_budget_held_back() -> None:
    tried = [AttemptSummary(1, "a", "primary", "failed", "server_error", 500, 1.0, 0)]
    error = exhausted(tried, failed(Failure.SERVER_ERROR), held_back=True)
    assert (error.code, error.retryable) == ("all_attempts_failed", True)
    assert "retry budget" in error.message
