"""A record that does not follow the last one is read for again; a hole of the log itself is accepted in the end."""

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


def test_a_hole_that_stays_is_the_logs_own() -> None:
    read = Continuity()
    read.begin({P: 3})
    for _ in range(SEEKS):
        assert read.step(P, 5) is Step.SEEK
        read.batch()
    assert read.step(P, 5) is Step.DELIVER
    read.delivered(P, 5)
    assert read.step(P, 8) is Step.SEEK


@given(st.sets(st.integers(0, 60), max_size=40), st.data())
def test_every_record_is_delivered_once_whatever_fetches_are_dropped(holes: set[int], data: st.DataObject) -> None:
    log = [offset for offset in range(60) if offset not in holes]
    read, position, seen = Continuity(), 0, list[int]()
    read.begin({P: 0})
    dropped = 0
    while True:
        fetched = [offset for offset in log if offset >= position][: data.draw(st.integers(1, 9))]
        if not fetched:
            break
        position = fetched[-1] + 1
        # The last fetch is never dropped here: whatever comes after it would tell. Between two deliveries SEEKS may be.
        if log[-1] >= position and dropped < SEEKS and data.draw(st.booleans()):
            dropped += 1
            continue
        read.batch()
        for offset in fetched:
            step = read.step(P, offset)
            if step is Step.SEEK:
                position = read.expected(P)
            elif step is Step.DELIVER:
                seen.append(offset)
                read.delivered(P, offset)
                dropped = 0
    assert seen == log
