"""Quantities as people read them."""

import pytest

from schemas.units import NANO, usd_text


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0"), (1, "0.000000001"), (10_000, "0.00001"), (NANO // 2, "0.5"), (100 * NANO, "100"),
     (10**18 + 1, "1000000000.000000001")],
)  # fmt: skip
def test_dollars_to_the_last_digit(nano: int, text: str) -> None:
    assert usd_text(nano) == text
