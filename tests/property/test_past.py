"""The state at a moment equals a fresh fold of the log up to it, from whatever compaction left of the published states."""

from fold_logs import Log, logs
from fold_world import projection, values
from hypothesis import event, given
from hypothesis import strategies as st

from schemas.snapshots import Snapshot
from streams.past import starting_point


def compacted(written: list[Snapshot], cleaned: int) -> list[Snapshot]:
    """llm.state after its cleaner read the first `cleaned` records: of those only the last of each key is left."""
    last = {snapshot.key: place for place, snapshot in enumerate(written[:cleaned])}
    return [s for place, s in enumerate(written) if place >= cleaned or last[s.key] == place]


@given(logs(), st.data())
def test_state_at_a_moment_equals_a_fresh_fold_up_to_it(log: Log, data: st.DataObject) -> None:
    owner, written = projection(log.kind), list[Snapshot]()
    for record in log.records:
        owner.apply(record)
        if data.draw(st.integers(0, 4)) == 0:
            flushed = owner.flush(1)
            whole = data.draw(st.integers(0, 3)) > 0
            written += flushed if whole else flushed[:1]
            if not whole:
                # A crash amid a flush: the next owner comes to the same states and writes what was left.
                for snapshot in flushed:
                    owner.touch(snapshot.kind, snapshot.subject)
    left = compacted(written, data.draw(st.integers(0, len(written))))
    at = data.draw(st.sampled_from([record.logged_at for record in log.records])) + data.draw(st.integers(-1, 1))

    fresh = projection(log.kind)
    prefix = []
    for record in log.records:
        if record.logged_at > at:
            break
        prefix.append(record)
        fresh.apply(record)
    start = starting_point(log.kind, left, at)
    event(f"starts from {'a snapshot' if start else 'nothing'}")
    resumed = projection(log.kind)
    resumed.restore(start or ())
    assert resumed.covered <= fresh.covered
    for record in prefix:
        resumed.apply(record)
    assert values(resumed, log.kind) == values(fresh, log.kind)
