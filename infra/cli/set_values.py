"""Values of `turnout set` as people write them."""

from typing import Any


def duration_us(text: str) -> int:
    """`30s`, `15m`, `1h`, `2d` in microseconds. Raises ConfigurationError."""
    from schemas.errors import ConfigurationError
    from schemas.numbers import YEAR_S
    from schemas.units import MICROS_PER_S

    seconds = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}.get(text[-1:])
    if seconds is None or not (text[:-1].isascii() and text[:-1].isdigit()) or not int(text[:-1]):
        raise ConfigurationError(f"{text} is no duration; write a number and s, m, h or d, such as 1h")
    if (length := int(text[:-1]) * seconds) > YEAR_S:
        raise ConfigurationError(f"{text} is longer than a year; write a shorter duration")
    return length * MICROS_PER_S


def weights_of(given: list[str]) -> dict[str, float]:
    """`cost=0.6`, `quality=0.4` as numbers by name. Raises ConfigurationError."""
    from typing import get_args

    from schemas.errors import ConfigurationError
    from schemas.numbers import MOST_WEIGHT
    from schemas.policy import WeightName

    names, found = get_args(WeightName), dict[str, float]()
    for item in given:
        name, _, text = item.partition("=")
        if name not in names:
            raise ConfigurationError(f"{name} is no weight; use one of {', '.join(names)}")
        if name in found:
            raise ConfigurationError(f"{name} is named twice; give each weight once")
        try:
            found[name] = float(text)
        except ValueError:
            raise ConfigurationError(f"{item} is no weight; write a name, = and a number, such as cost=0.6") from None
        if not 0 <= found[name] <= MOST_WEIGHT:
            raise ConfigurationError(f"{item} cannot weigh; give a number of 0 to {MOST_WEIGHT}")
    if not any(found.values()):
        raise ConfigurationError("Nothing weighs; name a weight above 0, such as cost=0.6 quality=0.4, or --clear them")
    return found


def known(name: str, names: Any, what: str) -> None:
    """Raises ConfigurationError with the closest names when `name` is not one of `names`."""
    from difflib import get_close_matches

    from schemas.errors import ConfigurationError

    if name in names:
        return
    close = get_close_matches(name, list(names), n=3, cutoff=0.5)
    if close:
        raise ConfigurationError(f"No {what} {name} is in force; did you mean {' or '.join(close)}?")
    if not names:
        raise ConfigurationError(f"No {what} {name} is in force; publish a catalog with `turnout apply` first.")
    raise ConfigurationError(f"No {what} {name} is in force; use one of {', '.join(sorted(names)[:20])}.")
