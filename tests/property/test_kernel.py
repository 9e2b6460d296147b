"""The compiled loops of a decision: their laws against plain Python, and the same bits compiled and as they stand."""

import importlib
import importlib.util
import math
import shutil
import sysconfig
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agents.routing import kernel
from agents.routing.estimates import RECORDED
from agents.routing.kernel.columns import Rates, crowding, record, speeds, utilities, values_at
from agents.routing.kernel.confidence import Spreads, confidence
from agents.routing.kernel.drawing import contests, drawn, mixed
from agents.routing.kernel.kin import Kin, numbered
from agents.routing.kernel.lookup import any_reached, counts_of, gathered, picked, replaced
from agents.routing.kernel.ranking import lowest, ranked

FOLDER = Path(kernel.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def as_it_stands(name: str) -> ModuleType:
    """A module of the kernel from its source, whatever is compiled."""
    loader = SourceFileLoader(f"interpreted_{name}", str(FOLDER / f"{name}.py"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


PLAIN = {name: as_it_stands(name) for name in MODULES}
NUMBER = st.one_of(st.floats(-1e9, 1e9, width=32), st.integers(-3, 3).map(float))
POSITIVE = st.floats(2**-10, 2**40, width=32)
SHARE = st.floats(0, 1, width=32)


def columns(size: int, *each: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[Any, ...]]:
    """A column of each kind, of `size` numbers."""
    return st.tuples(*(arrays(np.float64, size, elements=one) for one in each))


@pytest.mark.parametrize("name", MODULES)
def test_is_compiled_where_there_is_a_compiler(name: str) -> None:
    if shutil.which("cc") is None or not Path(sysconfig.get_path("include"), "Python.h").exists():
        pytest.skip("no C compiler, or no headers of Python: Turnout runs as it stands")
    file = importlib.import_module(f"agents.routing.kernel.{name}").__file__
    assert file
    assert not file.endswith(".py"), "not compiled; run `make install`"


class TestRanked:
    @given(st.integers(1, 90).flatmap(lambda size: st.tuples(st.just(size), columns(size, NUMBER))), st.data())
    def test_is_the_stable_order_of_the_scores(self, drawn: tuple[int, Any], data: st.DataObject) -> None:
        size, (scores,) = drawn
        start = data.draw(st.integers(0, size))
        assert ranked(scores, start, size) == sorted(range(start, size), key=lambda k: -scores[k])

    @given(st.integers(1, 90).flatmap(lambda size: columns(size, NUMBER, NUMBER)))
    def test_equals_stand_by_the_second(self, drawn: tuple[Any, Any]) -> None:
        scores, second = drawn
        found = ranked(scores, 0, len(scores), second)[:RECORDED]
        assert found == sorted(range(len(scores)), key=lambda k: (-scores[k], second[k]))[:RECORDED]

    def test_who_is_nearly_as_cheap_and_better_goes_first(self) -> None:
        costs, quality = np.array([100.0, 101.9, 102.1, 140.0]), np.array([0.5, 0.9, 0.99, 0.1])
        assert ranked(-costs, 0, 4, -quality, 1.02) == [1, 0, 2, 3]

    def test_a_run_begins_at_its_first_and_does_not_creep(self) -> None:
        # Each is within a point of the next, and the third is not within a point of the first.
        assert ranked(np.array([0.9, 0.895, 0.889]), 0, 3, np.array([3.0, 2.0, 1.0]), 1.0, 0.01) == [1, 0, 2]

    def test_a_place_that_is_none_is_an_error(self) -> None:
        with pytest.raises(IndexError):
            ranked(np.array([1.0]), 0, 2)

    @given(st.integers(1, 90).flatmap(lambda size: columns(size, NUMBER, NUMBER)), SHARE, SHARE)
    def test_the_same_as_it_stands(self, drawn: tuple[Any, Any], wider: float, margin: float) -> None:
        scores, second = drawn
        given_ = scores, 0, len(scores), second, 1 + wider, margin
        assert ranked(*given_) == PLAIN["ranking"].ranked(*given_)

    @given(st.integers(1, 9).flatmap(lambda size: columns(size, NUMBER)))
    def test_lowest(self, drawn: tuple[Any]) -> None:
        (column,) = drawn
        places = list(range(len(column)))
        assert lowest(column, places) == [k for k in places if column[k] == min(column)]
        assert lowest(column, places) == PLAIN["ranking"].lowest(column, places)


class TestColumns:
    @given(
        st.integers(1, 60).flatmap(lambda size: columns(size, *[POSITIVE] * 4, *[SHARE] * 4, POSITIVE)),
        st.integers(1, 10**7),
    )
    def test_estimates_the_same_as_it_stands(self, drawn: tuple[Any, ...], size_in: int) -> None:
        *told, loads = drawn
        said = []
        for kind in (Rates, PLAIN["columns"].Rates):
            rates, table = kind(*told), np.zeros((len(loads), 8), dtype="<f4")
            for under_way in (None, loads):
                cost, ms = rates.estimate(table, size_in, under_way)
                assert (cost == table[:, 2]).all()
                assert (ms == table[:, 3]).all()
                said.append((table.tobytes(), cost.tobytes(), ms.tobytes(), rates.free_share(loads).tobytes()))
        assert said[:2] == said[2:]

    def test_a_request_costs_its_tokens_and_waits_for_the_calls_under_way(self) -> None:
        one = [np.array([number]) for number in (3.0, 50.0, 400.0, 4.0, 0.01, 0.001, 0.9, 0.8)]
        table = np.zeros((1, 8), dtype="<f4")
        cost, ms = Rates(*one).estimate(table, 100, np.array([10.0]))
        assert (cost[0], ms[0], table[0, 0]) == (350.0, 440.0, 100.0)
        # 1 - 10 x 0.01 of its concurrency, 0.9 - 10 x 0.001 of its requests, 0.8 of its tokens.
        assert Rates(*one).free_share(np.array([10.0]))[0] == np.float32(0.8)

    @given(
        st.integers(1, 60).flatmap(lambda size: columns(size, NUMBER, POSITIVE, POSITIVE, SHARE)), SHARE, SHARE, SHARE,
        st.booleans(),
    )  # fmt: skip
    def test_utilities(self, drawn: tuple[Any, ...], decade: float, speed: float, load: float, limited: bool) -> None:
        constant, cost, ms, free = drawn
        given_ = constant, cost, ms, free if limited else None, decade, speed, load, 5_000.0
        found = utilities(*given_)
        assert found.tobytes() == PLAIN["columns"].utilities(*given_).tobytes()
        plain = constant - decade * np.log10(np.maximum(cost, 1.0)) + speed / (1 + ms / 5_000.0)
        assert found == pytest.approx(plain + load * free if limited else plain, rel=1e-6, abs=1e-6)

    @given(st.integers(1, 40).flatmap(lambda size: columns(size, POSITIVE, POSITIVE)), st.data())
    def test_lists_of_places(self, drawn: tuple[Any, Any], data: st.DataObject) -> None:
        column, other = drawn
        places = data.draw(st.lists(st.integers(0, len(column) - 1)))
        times = other[places].tolist()
        plain = PLAIN["columns"]
        assert values_at(column, places) == column[places].tolist() == plain.values_at(column, places)
        assert speeds(column, times, places) == (column[places] / other[places]).tolist()
        assert speeds(column, times, places) == plain.speeds(column, times, places)
        assert (crowding(column, other) == (column + 1) / other).all()
        assert (crowding(column, other) == plain.crowding(column, other)).all()

    @given(st.integers(1, 40).flatmap(lambda size: columns(size, SHARE, *[POSITIVE] * 8)), st.data())
    def test_record_is_the_rows_with_their_scores(self, drawn: tuple[Any, ...], data: st.DataObject) -> None:
        scores, *fields = drawn
        table = np.array(fields, dtype="<f4").T.copy()
        places = data.draw(st.lists(st.integers(0, len(scores) - 1)))
        rows = np.frombuffer(record(table, scores, places), dtype="<f4").reshape(-1, 8)
        assert (rows[:, :7] == table[places, :7]).all()
        assert (rows[:, 7] == scores[places].astype("<f4")).all()
        assert rows.tobytes() == PLAIN["columns"].record(table, scores, places)


@given(st.dictionaries(st.text(max_size=2), st.integers(0, 2**40)), st.lists(st.text(max_size=2)))
def test_lookup(counted: dict[str, int], names: list[str]) -> None:
    plain = PLAIN["lookup"]
    counts = counts_of(counted, names)
    assert counts == [counted.get(name, 0) for name in names] == plain.counts_of(counted, names)
    backwards = list(range(len(names)))[::-1]
    assert picked(names, backwards) == names[::-1] == plain.picked(names, backwards)
    assert gathered(counts, backwards).tolist() == counts[::-1] == plain.gathered(counts, backwards).tolist()
    for room in (0.0, 1.0, 2.0**40, math.inf):
        rooms = np.full(len(names), room)
        assert any_reached(counts, rooms) is any(count >= room for count in counts)
        assert any_reached(counts, rooms) is plain.any_reached(counts, rooms)


def test_replaced_looks_at_the_objects() -> None:
    for of in (replaced, PLAIN["lookup"].replaced):
        state: dict[str, Any] = {"a": [], "b": []}
        known = [state["a"], state["b"], None]
        assert of(state, ["a", "b", "c"], known) == []
        assert of(state | {"a": []}, ["a", "b", "c"], known) == [0]
        assert of(state | {"c": []}, ["a", "b", "c"], known) == [2]
        assert of({}, ["a", "b", "c"], known) == [0, 1]


class TestDrawing:
    def test_mixed_is_splitmix64(self) -> None:
        # The first outputs of the published generator for the state 0.
        states = [0x9E3779B97F4A7C15 * n % 2**64 for n in range(3)]
        assert [mixed(state) for state in states] == [
            0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F,
        ]  # fmt: skip

    @given(st.integers(0, 2**64 - 1), st.lists(st.floats(0.01, 100), min_size=1, max_size=40))
    def test_the_same_as_it_stands(self, seed: int, shares: list[float]) -> None:
        places = list(range(len(shares)))
        assert mixed(seed) == PLAIN["drawing"].mixed(seed)
        assert drawn(shares, places, seed) == PLAIN["drawing"].drawn(shares, places, seed)

    def test_each_as_often_as_its_share(self) -> None:
        found = [drawn([1.0, 0.0, 3.0], [5, 6, 7], seed) for seed in range(20_000)]
        assert found.count(6) == 0
        assert found.count(7) / len(found) == pytest.approx(0.75, abs=0.02)

    @given(st.data(), st.integers(1, 40), st.integers(1, 64))
    def test_who_wins_draws_is_the_same_as_it_stands(self, data: st.DataObject, size: int, draws: int) -> None:
        few = st.integers(-3, 3).map(float) | st.floats(-1, 1, width=32)
        scores, spreads = (data.draw(arrays(np.float32, size, elements=few)) for _ in range(2))
        normals = np.random.default_rng(size).standard_normal(draws * size).astype(np.float32)
        winner, won = contests(scores, spreads, normals, draws)
        assert (winner, won) == PLAIN["drawing"].contests(scores, spreads, normals, draws)
        assert sum(won) == draws
        assert won[winner] > 0

    def test_of_equals_the_first_wins_a_draw(self) -> None:
        level = np.zeros(3, dtype=np.float32)
        assert contests(level, level, np.ones(6, dtype=np.float32), 2) == (0, [2, 0, 0])


class TestKin:
    FIELDS = st.integers(1, 40).flatmap(
        lambda size: st.tuples(
            *(st.lists(st.sampled_from(names), min_size=size, max_size=size) for names in ("abc", "xyz", "12")),
            st.permutations(range(size)),
        )
    )

    def test_equal_names_have_equal_numbers(self) -> None:
        assert numbered([("m", 1), "a", ("m", 1)]).tolist() == [0, 1, 0]

    @given(FIELDS, st.integers(1, 8))
    def test_rivals_are_the_next_of_other_groups(self, drawn: tuple[Any, ...], most: int) -> None:
        group, lane, block, order = drawn
        for kind in (Kin, PLAIN["kin"].Kin):
            found = kind(group, lane, block).rivals(order, order[0], most)
            assert found == [k for k in order if group[k] != group[order[0]]][:most]

    @given(FIELDS, st.integers(1, 8))
    def test_a_lane_is_left_where_a_replica_of_the_block_allows(self, drawn: tuple[Any, ...], most: int) -> None:
        group, lane, block, order = drawn
        places, plain = list(order), list(order)
        Kin(group, lane, block).spread_lanes(places, most)
        PLAIN["kin"].Kin(group, lane, block).spread_lanes(plain, most)
        assert places == plain
        # Who is replaced is so by a replica of the same block, and nobody is lost.
        assert sorted(places) == sorted(order)
        assert places[0] == order[0]
        for step in range(1, min(most, len(places))):
            here, used = places[step], {lane[k] for k in places[:step]}
            alike = [k for k in places[step:] if group[k] == group[here] and block[k] == block[here]]
            assert lane[here] not in used or all(lane[k] in used for k in alike)

    def test_the_second_try_is_at_another_provider(self) -> None:
        places = [0, 1, 2]
        Kin("mmm", ["openai", "openai", "azure"], [0, 0, 0]).spread_lanes(places, 3)
        assert places == [0, 2, 1]


class TestSpreads:
    @given(
        st.integers(1, 40).flatmap(lambda size: columns(size, *[SHARE] * 4, POSITIVE)), st.data(),
        st.lists(SHARE, min_size=4, max_size=4),
    )  # fmt: skip
    def test_at_these_places(self, drawn: tuple[Any, ...], data: st.DataObject, weights: list[float]) -> None:
        *sds, column = drawn
        cost, time, quality, success = sds
        at = data.draw(st.lists(st.integers(0, len(column) - 1)))
        ours, plain = Spreads(*sds), PLAIN["confidence"].Spreads(*sds)
        assert ours.of_cost(column, at) == (column * cost)[at].tolist() == plain.of_cost(column, at)
        assert ours.of_time(column, at) == (column * time)[at].tolist() == plain.of_time(column, at)
        decade, speed, good, sure = weights
        late = column / 5_000
        parts = decade / math.log(10) * cost, speed * late * time / (1 + late) ** 2, good * quality, sure * success
        found = ours.of_utility(column, at, *weights, 5_000.0)
        assert found == pytest.approx(np.sqrt(sum(part**2 for part in parts))[at].tolist())
        assert found == plain.of_utility(column, at, *weights, 5_000.0)


@given(st.lists(st.tuples(NUMBER, st.floats(0, 10, width=32)), min_size=1, max_size=7))
def test_confidence_the_same_as_it_stands(contest: list[tuple[float, float]]) -> None:
    means, spreads = map(list, zip(*contest, strict=True))
    assert confidence(means, spreads) == PLAIN["confidence"].confidence(means, spreads)
