"""Other routers, each as its own processes on loopback, before the same simulated deployments as Turnout.

Each is set up as its documentation does for load: LiteLLM's proxy without a database, Portkey's gateway without a cache;
both choose among the same two replicas and try again on another.
"""

import contextlib
import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from infra.supervisor import Child, Supervisor, wait_until
from schemas.errors import OperationError

REPLICAS = ("alpha", "beta")
START_S = 120.0


@dataclass(frozen=True)
class Gateway:
    """How a client calls it, and how it is started."""

    name: str
    url: str
    command: list[str]
    health: str
    model: str = "sim-mini"
    headers: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


def litellm(installed: Path, folder: Path, simulators: int, port: int, workers: int) -> Gateway:
    """The proxy of a `pip install --target DIR "litellm[proxy]"`."""
    models = [
        {"model_name": "auto", "litellm_params": {
            "model": "openai/sim-mini", "api_base": f"http://127.0.0.1:{simulators}/{name}/v1", "api_key": "simulated",
        }}
        for name in REPLICAS
    ]  # fmt: skip
    config = folder / "litellm.yaml"
    document = {
        "model_list": models, "router_settings": {"num_retries": 2}, "litellm_settings": {"telemetry": False},
        # Without keys, as the others: to look one up is not what is measured.
        "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},
    }  # fmt: skip
    config.write_text(yaml.safe_dump(document))
    command = [sys.executable, "-m", "litellm.proxy.proxy_cli", "--config", str(config), "--host", "127.0.0.1",
               "--port", str(port), "--num_workers", str(workers)]  # fmt: skip
    environment = {"PYTHONPATH": str(installed), "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    root = f"http://127.0.0.1:{port}"
    return Gateway("litellm", f"{root}/v1/chat/completions", command, f"{root}/health/liveliness", "auto",
                   environment=environment)  # fmt: skip


def portkey(installed: Path, simulators: int, port: int) -> Gateway:
    """The gateway of an `npm install @portkey-ai/gateway` in `installed`. Raises OperationError without node."""
    if (node := shutil.which("node")) is None:
        raise OperationError("there is no node; install Node.js 20 or leave Portkey out")
    targets = [
        {"provider": "openai", "api_key": "simulated", "custom_host": f"http://127.0.0.1:{simulators}/{name}/v1"}
        for name in REPLICAS
    ]
    config = {"strategy": {"mode": "loadbalance"}, "targets": targets, "retry": {"attempts": 2}}
    server = installed / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    root = f"http://127.0.0.1:{port}"
    return Gateway(
        "portkey", f"{root}/v1/chat/completions", [node, str(server), f"--port={port}", "--headless"], f"{root}/",
        headers={"x-portkey-config": json.dumps(config, separators=(",", ":"))},
        environment={"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"},
    )  # fmt: skip


@contextlib.contextmanager
def running(gateway: Gateway, folder: Path) -> Iterator[list[int]]:
    """The processes of a started gateway. Raises OperationError when it does not start."""
    supervisor = Supervisor()
    log = folder / f"{gateway.name}.log"
    child = supervisor.add(Child(gateway.name, gateway.command, log, gateway.environment, restart=False))
    try:
        wait_until(lambda: _answers(gateway.health), child, timeout_s=START_S, what=gateway.name)
        yield _tree(child.pid)
    finally:
        supervisor.stop()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except (urllib.error.URLError, OSError):
        return False


def _tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
            found += _tree(int(child))
    return found
