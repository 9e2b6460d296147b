"""What was put a window ago is forgotten, what came later is not, and forgetting gives the room back."""

from hypothesis import given
from hypothesis import strategies as st

from agents.recent import PARTS, Recent

WINDOW = 40
PUTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 300)), max_size=80)


@given(PUTS, st.integers(0, 100))
def test_the_last_value_counts_for_a_window(puts: list[tuple[int, int]], later: int) -> None:
    """In whatever order the times come: a new owner reads one partition of answers after the other."""
    recent: Recent[int, int] = Recent(WINDOW)
    last: dict[int, tuple[int, int]] = {}
    for number, (key, at) in enumerate(puts):
        recent.put(key, number, at)
        last[key] = number, at
    now = max((at for _, at in puts), default=0) + later
    for key in range(6):
        number, at = last.get(key, (-1, -WINDOW - 1))
        assert recent.get(key, now) == (number if now - at <= WINDOW else None)


@given(PUTS)
def test_it_holds_what_came_in_one_and_a_half_windows_at_most(puts: list[tuple[int, int]]) -> None:
    recent: Recent[int, int] = Recent(WINDOW)
    times = sorted(at for _, at in puts)
    for number, at in enumerate(times):
        recent.put(number, number, at)
        assert len(recent) <= sum(at - before <= WINDOW * (PARTS + 2) // PARTS for before in times[: number + 1])


@given(PUTS, st.integers(2, 5))
def test_only_what_is_wanted_is_kept(puts: list[tuple[int, int]], divisor: int) -> None:
    recent: Recent[int, int] = Recent(1000)
    for key, at in puts:
        recent.put(key, key, at)
    recent.keep(lambda value: value % divisor == 0)
    known = {key for key, _ in puts}
    assert [recent.get(key, 300) for key in range(6)] == [
        key if key in known and key % divisor == 0 else None for key in range(6)
    ]
