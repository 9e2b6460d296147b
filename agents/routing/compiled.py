"""The catalog as parallel lists, made once a configuration. Deployments stand in the order of their ids.

That order makes every tie fall to the lower id, so the order of the catalog file never decides. A *position* is a place
in these lists, an *index* a place in the catalog, as events name it.
"""

from typing import Any, NamedTuple

import numpy as np

from agents.routing.estimates import Column
from agents.routing.experience import Experience
from agents.routing.learned import Learned
from agents.routing.memo import by_identity
from agents.routing.quality import Qualities
from agents.routing.troubles import Troubles
from schemas.catalog import FALLBACK_TIERS, Catalog
from schemas.events import PlanStep

EMERGENCY = FALLBACK_TIERS.index("emergency")
LOCAL = FALLBACK_TIERS.index("local")


class Offer(NamedTuple):
    """What the catalog says by position or place, as float64. Prices: nano-USD per million tokens. `per_call`,
    `per_request`, `per_token`: the share of a limit that one takes, 0 without."""

    price_in: Column
    price_out: Column
    max_out: Column
    weight: Column
    per_call: Column
    per_request: Column
    per_token: Column

    def at(self, places: Any) -> "Offer":
        """The columns at these positions, an array of them."""
        return Offer(*[column[places] for column in self])


class Compiled:
    """Owns the tables of one catalog, and the memos that depend on it (`profiles`, `learned`,
    `experience`, `qualities`, `troubles`, and `calm` of filters.py).

    `price_in`, `price_out`: nano-USD per million tokens. `group`: equal for replicas (prices stand at the model, so the
    same model in the same tier has the same price). `lane`: equal for the same provider with the same credential.
    Positions in `by_model` ascend. `offer`: what is reckoned with, as columns.
    """

    def __init__(self, catalog: Catalog) -> None:
        indices = sorted(range(len(catalog.deployments)), key=lambda index: catalog.deployments[index].id)
        self.catalog = catalog
        self.index = indices
        self.deployments = [catalog.deployments[index] for index in indices]
        self.models = [catalog.model_by_id[deployment.model] for deployment in self.deployments]
        self.ids = [deployment.id for deployment in self.deployments]
        self.position = {name: position for position, name in enumerate(self.ids)}
        self.tier = [FALLBACK_TIERS.index(deployment.fallback_tier) for deployment in self.deployments]
        self.price_in = [model.price_usd_per_million.nano[0] for model in self.models]
        self.price_out = [model.price_usd_per_million.nano[1] for model in self.models]
        self.window = [model.context_window for model in self.models]
        self.max_out = [model.max_output_tokens for model in self.models]
        self.weight = [deployment.weight for deployment in self.deployments]
        self.group = [(deployment.model, deployment.fallback_tier) for deployment in self.deployments]
        self.lane = [(deployment.provider, deployment.credentials) for deployment in self.deployments]
        self.limits = [deployment.limits for deployment in self.deployments]
        self.by_model: dict[str, list[int]] = {}
        for position, model in enumerate(self.models):
            self.by_model.setdefault(model.id, []).append(position)
        self.learned = Learned(self.ids, self.limits)
        self.experience = Experience([model.id for model in self.models])
        self.qualities = Qualities(self.ids)
        self.steps = [PlanStep(name, FALLBACK_TIERS[tier]) for name, tier in zip(self.ids, self.tier, strict=True)]
        self.relaxed_steps = [PlanStep(name, FALLBACK_TIERS[EMERGENCY]) for name in self.ids]
        per_call = [share(limits.concurrency) for limits in self.limits]
        per_request = [share(limits.requests_per_minute) for limits in self.limits]
        per_token = [share(limits.tokens_per_minute) for limits in self.limits]
        told = self.price_in, self.price_out, self.max_out, self.weight, per_call, per_request, per_token
        self.offer = Offer(*[np.array(column, dtype=np.float64) for column in told])
        self.troubles = Troubles(self.ids)
        self.profiles: dict[tuple[Any, ...], Any] = {}
        self.calm: Any = None


def share(limit: int | None) -> float:
    """Of a limit, what one takes; 0 without a limit."""
    return 1 / limit if limit else 0.0


compiled = by_identity(Compiled)
