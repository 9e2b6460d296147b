"""Numbers that people write: finite, and small enough that what is made of them fits the log's 64-bit integers.

The log is kept for ever: a limit that overflows in a fold, or a document that reads back as another one, would stop every reader.
"""

from typing import Annotated

from pydantic import Field

MOST_USD = 1_000_000_000
LEAST_WEIGHT, MOST_WEIGHT = 1e-6, 1_000_000
MOST_TOKENS = 1_000_000_000
YEAR_S = 366 * 86_400
LONGEST_DAYS = 36_500
LONGEST_DEADLINE_MS = 24 * 3_600_000

Finite = Field(allow_inf_nan=False)
Usd = Annotated[float, Field(ge=0, le=MOST_USD), Finite]
UsdPerMillion = Annotated[float, Field(ge=0, le=1_000_000), Finite]
"""MOST_TOKENS of them cost MOST_USD."""
Share = Annotated[float, Field(ge=0, le=1), Finite]
Weight = Annotated[float, Field(ge=0, le=MOST_WEIGHT), Finite]
Seconds = Annotated[float, Field(gt=0, le=YEAR_S), Finite]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
Measured = Annotated[float, Field(ge=0, le=1_000_000_000), Finite]
"""In the unit of its metric, of which the log holds millionths."""
