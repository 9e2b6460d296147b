import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agents.routing.text.features import BUCKETS, HEAD, SHAPE, TAIL, features
from agents.routing.text.model import TASKS, shipped, task_of_text

ANY_TEXT = st.text(alphabet=st.characters(codec=None), max_size=3000)


@given(ANY_TEXT)
def test_any_text_has_a_task_and_the_same_one_again(text):
    assert task_of_text(text) == task_of_text(text)
    assert task_of_text(text) in TASKS


@given(ANY_TEXT)
def test_features_stay_within_their_bounds(text):
    seen = features(text)
    assert seen.shape.shape == (SHAPE,)
    assert seen.shape.dtype == np.int64
    assert 0 <= seen.shape.min() <= seen.shape.max() <= 176
    assert len(np.unique(seen.buckets)) == len(seen.buckets)
    assert not len(seen.buckets) or (seen.buckets.min() >= 0 and seen.buckets.max() < BUCKETS)
    assert shipped().scores(seen).dtype == np.int64


@given(ANY_TEXT, ANY_TEXT)
def test_only_head_and_tail_are_read(left, right):
    head, tail = left.ljust(HEAD, "a")[:HEAD], right.rjust(TAIL, "b")[-TAIL:]
    one, two = features(head + "middle" + tail), features(head + "another middle" * 9 + tail)
    assert (one.shape == two.shape).all()
    assert np.array_equal(one.buckets, two.buckets)
