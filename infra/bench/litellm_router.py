"""How long LiteLLM's Router takes to choose a deployment: a process of its own, because it needs other versions than ours.

Run by `python -m infra.bench.decisions --litellm DIR`, where DIR comes first among the places of modules. It imports nothing
of Turnout, and prints JSON: {"SIZE STRATEGY": [nanoseconds of thread CPU, ...]}.
"""

import asyncio
import importlib
import json
import sys
import time
from typing import Any

STRATEGIES = {"shuffle": "simple-shuffle", "cheapest": "cost-based-routing"}


def chosen(size: int, strategy: str, rounds: int) -> list[int]:
    """Choose among `size` deployments of one model group, `rounds` times."""
    router: Any = importlib.import_module("litellm").Router(
        model_list=[
            {
                "model_name": "group",
                "litellm_params": {
                    "model": "openai/gpt-4o-mini", "api_key": "none", "api_base": f"http://127.0.0.1:{i + 1}",
                    "rpm": 5_000, "input_cost_per_token": 1e-7 * (i + 1), "output_cost_per_token": 4e-7,
                },
            }
            for i in range(size)
        ],
        routing_strategy=STRATEGIES[strategy],
    )  # fmt: skip
    messages = [{"role": "user", "content": "word " * 100}]

    async def pick() -> list[int]:
        took = []
        for _ in range(rounds):
            started = time.thread_time_ns()
            await router.async_get_available_deployment(model="group", messages=messages, request_kwargs={})
            took.append(time.thread_time_ns() - started)
        return took

    return asyncio.run(pick())


if __name__ == "__main__":
    rounds, sizes = int(sys.argv[1]), [int(size) for size in sys.argv[2:]]
    found = {f"{size} {strategy}": chosen(size, strategy, rounds) for size in sizes for strategy in STRATEGIES}
    json.dump(found, sys.stdout)
