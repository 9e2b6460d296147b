"""What is kept from one state to the next changes no figure: tables taken in step by step equal those made at once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agents.routing.experience import Experience
from agents.routing.learned import MINUTE, Learned
from schemas.catalog import Limits
from schemas.spans import CALLS_SPAN, LENGTHS_SPAN
from schemas.state import CallsBucket, HealthBucket, HealthState, LearnedState, LengthsBucket

NAMES = ["a", "b"]
MODELS = ["mini", "mini"]
LIMITS = [Limits(), Limits(requests_per_minute=5)]
START = 1_790_000_000_000_000
COUNTS = st.dictionaries(st.integers(100, 130), st.integers(1, 50), max_size=4)
SMALL = st.integers(0, 30)


@st.composite
def health(draw: st.DrawFn) -> HealthState:
    minutes = sorted(draw(st.sets(st.integers(-18, 2), max_size=6)))
    return HealthState(tuple(
        HealthBucket(
            START // MINUTE + minute, draw(SMALL), draw(SMALL), 0, draw(SMALL), 0, draw(SMALL), draw(SMALL) * 100, draw(COUNTS),
            draw(COUNTS),
        )
        for minute in minutes
    ))  # fmt: skip


@st.composite
def learned(draw: st.DrawFn) -> LearnedState:
    spans = sorted(draw(st.sets(st.integers(-7, 1), max_size=4)))
    lengths = tuple(LengthsBucket(START // LENGTHS_SPAN + span, draw(SMALL) * 100, draw(COUNTS)) for span in spans)
    calls = tuple(CallsBucket(START // CALLS_SPAN + span, draw(SMALL), draw(SMALL), 1, 2, 3) for span in spans)
    return LearnedState("mini", {"code": calls}, {"code": lengths})


STATES = st.dictionaries(st.sampled_from(NAMES), health())
STREAMS = st.dictionaries(st.sampled_from(NAMES), learned())
STEPS = st.lists(st.tuples(STATES, STREAMS, st.integers(0, 3 * MINUTE)), min_size=1, max_size=5)


@given(STEPS)
def test_facts_do_not_depend_on_what_was_seen_before(steps):
    known, states, streams, now = Learned(NAMES, LIMITS), {}, {}, START
    for changed, learnt, later in steps:
        now += later
        states, streams = states | changed, streams | learnt
        # Half of the states grow by a bucket, as on the loop, and half are others altogether.
        for name, state in list(states.items()):
            if state.buckets and later % 2:
                last = state.buckets[-1]
                grown = HealthBucket(last.minute, last.succeeded + 1, last.failed, latency={120: 3})
                states[name] = HealthState((*state.buckets[:-1], grown))
        known.refresh(states, now, streams)
        fresh = Learned(NAMES, LIMITS)
        fresh.refresh(states, now, streams)
        assert known.facts == fresh.facts
        assert known.rooms.tolist() == fresh.rooms.tolist()
        columns = known.columns._asdict()
        assert columns.pop("success_now").tolist() == [fact.lately.success for fact in fresh.facts]
        assert columns.pop("slower").tolist() == [fact.lately.slower for fact in fresh.facts]
        for name, column in columns.items():
            assert column.tolist() == [getattr(fact, name) for fact in fresh.facts], name


@given(STEPS)
def test_lengths_do_not_depend_on_what_was_seen_before(steps):
    known, streams, now = Experience(MODELS), {}, START
    for _, learnt, later in steps:
        now, streams = now + later * 60, streams | learnt
        states = [streams.get(name) for name in NAMES]
        known.refresh(states, now)
        known.renew()
        fresh = Experience(MODELS)
        fresh.refresh(states, now)
        here, there = known.lengths("code"), fresh.lengths("code")
        assert (here is None) == (there is None)
        if here and there:
            assert here.mean.tobytes() == there.mean.tobytes()
            assert (here.longest, here.p99) == (there.longest, there.p99)
            assert here.spread.tobytes() == there.spread.tobytes()
        realised, anew = known.realised("code"), fresh.realised("code")
        assert (realised is None) == (anew is None)
        if realised is not None and anew is not None:
            assert np.array_equal(np.array(realised), np.array(anew))
