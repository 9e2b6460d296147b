"""What decisions derive from state, made as the state arrives: a decision then finds it made.

It changes no decision, only who pays: the tables are functions of the same states, whoever makes them.
"""

from agents.routing.compiled import compiled
from agents.routing.view import RoutingView
from schemas.catalog import Catalog
from schemas.state import HealthState, LearnedState


def prepare(view: RoutingView, now: int) -> None:
    """Bring the tables of the catalog in force up to `now` (microseconds of broker time)."""
    intake(view.inforce.configuration.catalog, view.health, view.learned, now)


def intake(catalog: Catalog, health: dict[str, HealthState], learned: dict[str, LearnedState] | None, now: int) -> None:
    """The same for who has no whole view."""
    tables = compiled(catalog)
    tables.learned.refresh(health, now, learned)
    tables.experience.refresh(tables.learned.streams, now)
    tables.experience.renew()
