"""The catalog as parallel lists, made once a configuration. Deployments stand in the order of their ids.

That order makes every tie fall to the lower id, so the order of the catalog file never decides. A *position* is a place
in these lists, an *index* a place in the catalog, as events name it.
"""

import math
from collections import Counter
from typing import Any

import numpy as np

from agents.routing.learned import Learned
from agents.routing.memo import by_identity
from schemas.catalog import FALLBACK_TIERS, Catalog

EMERGENCY = FALLBACK_TIERS.index("emergency")
LOCAL = FALLBACK_TIERS.index("local")


class Compiled:
    """Owns the tables of one catalog, and the memos that depend on it (`profiles`, `learned`).

    `price_in`, `price_out`: nano-USD per million tokens. `group`: equal for replicas (prices stand at the model, so the
    same model in the same tier has the same price). `lane`: equal for the same provider with the same credential.
    Positions in `by_model` ascend.
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
        self.lane = [(deployment.provider, deployment.api_key) for deployment in self.deployments]
        sizes = Counter(self.group)
        self.replicated = [sizes[group] > 1 for group in self.group]
        self.limits = [deployment.limits for deployment in self.deployments]
        self.by_model: dict[str, list[int]] = {}
        for position, model in enumerate(self.models):
            self.by_model.setdefault(model.id, []).append(position)
        self.learned = Learned(self.ids, self.limits)
        self.prices_in = np.array(self.price_in, dtype=np.float64)
        self.prices_out = np.array(self.price_out, dtype=np.float64)
        self.least_max_out = min(self.max_out, default=0)
        self.concurrency = np.array([limits.concurrency or math.inf for limits in self.limits])
        self.profiles: dict[tuple[Any, ...], Any] = {}


compiled = by_identity(Compiled)
