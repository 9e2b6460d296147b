"""One final answer per request: what claims allow."""

from hypothesis import given
from hypothesis import strategies as st

from agents.dedup import Claim, Claims
from schemas.ids import Source

WINDOW = 600
ID = ("llm.requests", "acme", "r-1")
FIRST, SECOND = Source("llm.requests", 0, 1), Source("llm.requests", 0, 2)


def test_an_id_runs_once() -> None:
    claims = Claims(WINDOW)
    assert claims.claim(ID, FIRST, 0) == (Claim.RUN, FIRST)
    assert claims.claim(ID, SECOND, 1) == (Claim.DUPLICATE, FIRST)
    claims.answered(ID, FIRST, retryable=False, now=2)
    assert claims.claim(ID, SECOND, 3) == (Claim.DUPLICATE, FIRST)


def test_a_record_that_was_answered_is_not_run_when_it_is_read_again() -> None:
    claims = Claims(WINDOW)
    claims.answered(ID, FIRST, retryable=True, now=0)
    assert claims.claim(ID, FIRST, 1) == (Claim.ANSWERED, FIRST)


def test_after_a_retryable_error_the_id_runs_again() -> None:
    claims = Claims(WINDOW)
    claims.claim(ID, FIRST, 0)
    claims.answered(ID, FIRST, retryable=True, now=1)
    assert claims.claim(ID, SECOND, 2) == (Claim.RUN, SECOND)


def test_after_the_window_the_id_is_forgotten() -> None:
    claims = Claims(WINDOW)
    claims.claim(ID, FIRST, 0)
    claims.answered(ID, FIRST, retryable=False, now=1)
    assert claims.claim(ID, SECOND, WINDOW + 2) == (Claim.RUN, SECOND)


def test_a_running_id_outlives_the_window() -> None:
    claims = Claims(WINDOW)
    claims.claim(ID, FIRST, 0)
    assert claims.claim(ID, SECOND, 10 * WINDOW) == (Claim.DUPLICATE, FIRST)


def test_a_released_claim_may_be_taken() -> None:
    claims = Claims(WINDOW)
    claims.claim(ID, FIRST, 0)
    claims.release(ID, FIRST)
    assert claims.claim(ID, SECOND, 1) == (Claim.RUN, SECOND)


def test_what_left_with_its_partition_is_forgotten() -> None:
    claims = Claims(WINDOW)
    claims.claim(ID, FIRST, 0)
    claims.answered(ID, FIRST, retryable=False, now=1)
    claims.drop_partition("llm.requests", 0)
    assert claims.claim(ID, SECOND, 2) == (Claim.RUN, SECOND)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 50)), max_size=60))
def test_within_a_window_no_id_has_two_good_answers(steps: list[tuple[int, bool, int]]) -> None:
    claims = Claims(WINDOW)
    good: dict[str, int] = {}
    now = 0
    for offset, (name, retryable, pause) in enumerate(steps):
        now += pause
        identity, source = ("t", "a", str(name)), Source("t", 0, offset)
        claim, first = claims.claim(identity, source, now)
        if claim is Claim.RUN:
            assert now - good.get(str(name), -WINDOW - 1) > WINDOW
            claims.answered(identity, source, retryable=retryable, now=now)
            if not retryable:
                good[str(name)] = now
        else:
            assert first != source
