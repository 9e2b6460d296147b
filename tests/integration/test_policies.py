"""What policies choose: strategies by request, tenant and task; weights changed under traffic."""

import asyncio
from pathlib import Path
from typing import Any, get_args

from loop import Bench, catalog, chat, prepared, running, settings_for, two_models, write_settings
from processes import HeldProvider

from infra.kafka import EmbeddedKafka
from infra.supervisor import turnout
from schemas.events import RouteDecided
from schemas.policy import StrategyName

STRATEGIES = get_args(StrategyName)


async def test_each_strategy_is_chosen_by_the_request_the_tenant_and_the_task(
    kafka: EmbeddedKafka, prefix: str
) -> None:
    by_task = {"code": {"strategy": "quality", "balancer": "token_aware", "cost_strategy": "arbitrage"}}
    asked: dict[str, dict[str, Any]] = {f"by-request-{name}": {"strategy": name} for name in STRATEGIES}
    asked |= {f"by-tenant-{name}": {"tenant": f"likes-{name}"} for name in STRATEGIES}
    asked |= {
        "request-over-tenant": {"tenant": "likes-speed", "strategy": "reliability"},
        "tenant-over-task": {"tenant": "likes-speed", "task": "code"},
        "task-over-default": {"task": "code"},
        "default": {"task": "math"},
    }
    wanted = {f"by-{level}-{name}": name for level in ("request", "tenant") for name in STRATEGIES}
    wanted |= {
        "request-over-tenant": "reliability", "tenant-over-task": "speed", "task-over-default": "quality", "default": "cost",
    }  # fmt: skip
    provider = HeldProvider()
    async with provider.serving():
        settings = await prepared(settings_for(
            kafka.bootstrap_servers, prefix, two_models(provider.base_url), routing={"by_task": by_task},
            tenants=[{"id": f"likes-{name}", "strategy": name} for name in STRATEGIES],
        ))  # fmt: skip
        async with Bench(settings) as bench, running(settings):
            for name, routing in asked.items():
                await bench.publish(chat(name, **routing), request_id=name)
            answers = await bench.answers_of(asked.keys())
            decided = await decisions(bench)
    assert {name: answer["routing"]["status"] for name, answer in answers.items()} == dict.fromkeys(asked, "ok")
    assert {name: answer["routing"]["strategy"] for name, answer in answers.items()} == wanted
    assert {name: event.strategy for name, event in decided.items()} == wanted
    for name, event in decided.items():
        assert list(event.reasons) == answers[name]["routing"]["reasons"], name
        by_policy = [reason for reason in event.reasons if reason.startswith("strategy ")]
        if "by-tenant" in name or name == "tenant-over-task":
            assert by_policy == [f"strategy {event.strategy}: the tenant's policy"], name
        else:
            assert by_policy == (
                ["strategy quality: the policy of task code"] if name == "task-over-default" else []
            ), name
    of_task = answers["task-over-default"]["routing"]
    assert (of_task["balancer"], of_task["cost_strategy"]) == ("token_aware", "arbitrage")
    assert "balancer token_aware: the policy of task code" in of_task["reasons"]


async def test_weights_change_by_a_command_under_traffic(kafka: EmbeddedKafka, prefix: str, tmp_path: Path) -> None:
    provider = HeldProvider()
    async with provider.serving():
        document = catalog(provider.base_url, {"cheap": "primary", "good": "primary"})
        good = {
            "id": "sim-good",
            "price_usd_per_million": {"input": 2.5, "output": 20.0},
            "quality": {"conversation": 0.95},
        }
        document["models"].append(document["models"][0] | good)
        document["deployments"][1]["model"] = "sim-good"
        settings = await prepared(settings_for(
            kafka.bootstrap_servers, prefix, document, routing={"strategy": "weighted"},
            tenants=[{"id": "acme", "weights": {"cost": 1}}],
        ))  # fmt: skip
        file = write_settings(settings, tmp_path / "turnout.yaml")
        async with Bench(settings) as bench, running(settings) as worker:
            served: dict[str, str] = {}
            ended = asyncio.Event()

            async def traffic() -> None:
                while not ended.is_set():
                    number = len(served)
                    for tenant in ("acme", "other"):
                        served[f"{tenant}-{number}"] = tenant
                        said = chat(tenant=tenant, task="conversation")
                        await bench.publish(said, request_id=f"{tenant}-{number}")
                    await asyncio.sleep(0.2)

            async def decided_at(offset: int) -> None:
                """Both tenants' requests were decided by what this control record says."""
                async with asyncio.timeout(60):
                    while {e.tenant for e in (await decisions(bench)).values() if e.control_offset == offset} < {
                        "acme",
                        "other",
                    }:
                        await asyncio.sleep(0.2)

            async with asyncio.TaskGroup() as group:
                group.create_task(traffic())
                offsets = [worker.control.current.offset]
                await decided_at(offsets[0])
                for command in (
                    ["quality=0.9", "cost=0.1", "--tenant", "acme"],
                    ["--clear", "--tenant", "acme"],
                    ["quality=1"],
                ):
                    said = await commanded("set", "weights", *command, "--config", str(file))
                    offsets.append(int(said.removeprefix("published at control offset ")))
                    await decided_at(offsets[-1])
                ended.set()
            answers = await bench.answers_of(served.keys())
            decided = await decisions(bench)
    assert all(answer["routing"]["status"] == "ok" for answer in answers.values())
    by_command = "weights quality 0.90, cost 0.10: the tenant's policy, set by a command"
    by_file = "weights cost 1.00: the tenant's policy"
    of_all = "weights quality 1.00: the default, set by a command"
    wanted = {
        ("acme", 0): ("cheap", by_file), ("acme", 1): ("good", by_command), ("acme", 2): ("cheap", by_file),
        ("acme", 3): ("cheap", by_file), ("other", 0): ("cheap", None), ("other", 1): ("cheap", None),
        ("other", 2): ("cheap", None), ("other", 3): ("good", of_all),
    }  # fmt: skip
    seen = set()
    for name, event in decided.items():
        at = (served[name], offsets.index(event.control_offset))
        deployment, reason = wanted[at]
        weighing = [said for said in event.reasons if said.startswith("weights ")]
        assert (event.strategy, event.plan[0].deployment, weighing) == (
            "weighted",
            deployment,
            [reason] if reason else [],
        ), at
        routing = answers[name]["routing"]
        assert (routing["deployment"], routing["strategy"], routing["reasons"]) == (
            deployment,
            "weighted",
            list(event.reasons),
        )
        seen.add(at)
    assert seen == wanted.keys()


async def decisions(bench: Bench) -> dict[str, RouteDecided]:
    return {event.request_id: event for event in await bench.events("decisions") if isinstance(event, RouteDecided)}


async def commanded(*arguments: str) -> str:
    """What a command of a user prints."""
    process = await asyncio.create_subprocess_exec(
        *turnout(*arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode().strip()
