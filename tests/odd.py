"""A document with odd values in some of its places: what nobody means to send and somebody will."""

import copy
import functools
from collections.abc import Iterator
from typing import Any, cast

from hypothesis import strategies as st

Place = tuple[str | int, ...]
PLAIN = st.none() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8"), max_size=4)


def nested(levels: int) -> list[Any]:
    """So many lists, one in the other."""
    return functools.reduce(lambda inner, _: [inner], range(levels - 1), cast(list[Any], []))


ODD = st.one_of(
    st.sampled_from(
        [True, 0, -1, 2**31, 2**63, 1e308, "", "\0", [], {}, [None], {"": ""}, {"type": "text"}, "data:,", "none"]
    ),
    st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=2)),
    st.sampled_from([198, 210, 300]).map(nested),
    st.dictionaries(st.sampled_from(["type", "text", "function", "name", "url"]), PLAIN, max_size=2),
)


def places(node: Any, at: Place = ()) -> Iterator[Place]:
    """Every place below a node."""
    below = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, item in below:
        yield (*at, key)
        yield from places(item, (*at, key))


def odd(whole: Any) -> st.SearchStrategy[Any]:
    """The document with one or two other values, the second perhaps inside the first."""

    def changed(changes: list[tuple[Place, Any]]) -> Any:
        document = copy.deepcopy(whole)
        for place, value in changes:
            node = document
            try:
                for key in place[:-1]:
                    node = node[key]
                node[place[-1]] = copy.deepcopy(value)
            except (KeyError, IndexError, TypeError):
                continue
        return document

    return st.lists(st.tuples(st.sampled_from(list(places(whole))), ODD), min_size=1, max_size=2).map(changed)
