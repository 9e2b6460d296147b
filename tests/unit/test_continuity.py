"""A record that does not follow the last one is read for again; a hole is the log's own only if the log says so."""

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.continuity import SEEKS, Continuity, Step

P, Q = TP("requests", 5), TP("requests", 6)


def test_records_in_order_are_delivered() -> None:
    read = Continuity()
    read.begin({P: 3})
    for offset in (3, 4, 5):
        assert read.step(P, offset) is Step.DELIVER
        read.delivered(P, offset)
    assert read.expected(P) == 6


def test_nothing_is_committed_past_what_is_not_served() -> None:
    read = Continuity()
    assert read.floor(P) is None
    read.begin({P: 3, Q: 0})
    for offset in (3, 4, 5):
        read.handed(P, offset)
    assert (read.floor(P), read.floor(Q), list(read.open)) == (3, 0, [(P, 3)])
    read.served(P, 4)
    read.served(P, 5)
    assert read.floor(P) == 3
    read.served(P, 3)
    assert (read.floor(P), list(read.open)) == (6, [])


def test_what_was_dropped_after_it_was_handed_on_is_read_again() -> None:
    read = Continuity()
    read.begin({P: 3})
    for offset in (3, 4, 5):
        read.handed(P, offset)
    read.served(P, 5)
    read.back(P, 4)
    assert (read.expected(P), read.floor(P)) == (4, 3)
    assert read.step(P, 4) is Step.DELIVER
    # A second time the one that was served counts as served again only when it was handed on again.
    read.handed(P, 4)
    read.handed(P, 5)
    read.served(P, 3)
    read.served(P, 4)
    assert read.floor(P) == 5


def test_a_position_past_what_is_expected_is_behind() -> None:
    read = Continuity()
    read.begin({P: 3, Q: 0})
    assert read.behind({P: 3, Q: 0}) == []
    for _ in range(2 * SEEKS):
        assert read.behind({P: 9, Q: 0}) == [P]


def test_a_dropped_fetch_is_read_again_before_anything_after_it() -> None:
    read = Continuity()
    read.begin({P: 3, Q: 0})
    read.batch()
    assert read.step(P, 9) is Step.SEEK
    assert read.expected(P) == 3
    assert read.step(P, 10) is Step.PASS
    assert read.step(Q, 0) is Step.DELIVER
    read.batch()
    assert read.step(P, 3) is Step.DELIVER


def test_a_hole_that_stays_is_to_be_proved_and_never_taken_for_granted() -> None:
    read = Continuity()
    read.begin({P: 3})
    for _ in range(3):
        for _ in range(SEEKS):
            assert read.step(P, 5) is Step.SEEK
            read.batch()
        assert read.step(P, 5) is Step.PROVE
        read.batch()
    read.delivered(P, 5)
    assert read.step(P, 8) is Step.SEEK


@given(st.sets(st.integers(0, 60), max_size=40), st.data())
def test_every_record_is_delivered_once_whatever_fetches_are_dropped(holes: set[int], data: st.DataObject) -> None:
    log = [offset for offset in range(60) if offset not in holes]
    read, position, seen = Continuity(), 0, list[int]()
    read.begin({P: 0})
    while True:
        fetched = [offset for offset in log if offset >= position][: data.draw(st.integers(1, 9))]
        if not fetched:
            break
        position = fetched[-1] + 1
        # The last fetch is never dropped here: whatever comes after it would tell.
        if log[-1] >= position and data.draw(st.integers(0, 3)):
            continue
        read.batch()
        for offset in fetched:
            step, expected = read.step(P, offset), read.expected(P)
            assert expected is not None
            if step is Step.PROVE:
                step = Step.DELIVER if min(each for each in log if each >= expected) == offset else Step.SEEK
            if step is Step.SEEK:
                position = expected
            elif step is Step.DELIVER:
                seen.append(offset)
                read.delivered(P, offset)
    assert seen == log
