"""`turnout up` as a user runs it: in a folder with a blank in its name, by what it prints, through deaths and a new start."""

import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import children

from infra.ports import free_port
from infra.supervisor import turnout

BODY = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "routing": {"tenant": "acme"}})


class Up:
    """`turnout up --simulate` on ports of its own; its lines as they come."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sql, self.web = free_port(), free_port(neighbours=2)
        self.kafka, self.simulators = free_port(), free_port()
        self._ports = ["--kafka-port", str(self.kafka), "--simulators-port", str(self.simulators)]
        self._environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        # Of what the environment says, the ports hold; the cluster that it names is not to be reached.
        self._settings = {
            "TURNOUT_SQL__PORT": str(self.sql),
            "TURNOUT_WEB__PORT": str(self.web),
            "TURNOUT_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        }
        self._command: list[str] = []
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns once it has said how to use it."""
        self._process = await asyncio.create_subprocess_exec(
            *turnout("up", "--simulate", "--routers", "2", *self._ports),
            stderr=asyncio.subprocess.PIPE, env=self._environment | self._settings, cwd=self.folder,
        )  # fmt: skip
        said = await self.line("Commands: ")
        self._command = shlex.split(said.removeprefix("Commands: turnout ").partition(" ...")[0])
        assert "TURNOUT_KAFKA__BOOTSTRAP_SERVERS" in await self.line("Commands in a shell with ")

    async def line(self, beginning: str) -> str:
        """The next line that begins so."""
        assert self._process is not None
        assert self._process.stderr is not None
        seen = []
        async with asyncio.timeout(120):
            while line := (await self._process.stderr.readline()).decode():
                seen.append(line)
                if line.startswith(beginning):
                    return line
        raise AssertionError("".join(seen))

    async def command(self, name: str, *arguments: str, given: str = "") -> str:
        """What a command says with the options that were printed."""
        _, *options = self._command
        running = await asyncio.create_subprocess_exec(
            *turnout(name, *options, *arguments), env=self._environment, cwd=self.folder,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(60):
            out, err = await running.communicate(given.encode())
        assert running.returncode == 0, err.decode()
        return out.decode()

    async def answer(self) -> dict[str, Any]:
        """A request as the README sends one."""
        return dict(json.loads(await self.command("send", "-", "--wait", given=BODY)))

    async def completed(self) -> list[str]:
        """The requests that SQL knows as answered."""
        async with httpx.AsyncClient(trust_env=False) as client:
            found = await client.post(
                f"http://127.0.0.1:{self.sql}/",
                content="SELECT request_id FROM turnout.requests WHERE status = 'ok' ORDER BY accepted_at",
            )
        assert found.status_code == 200, found.text
        return found.text.split()

    async def leases(self) -> list[dict[str, bool]]:
        """What the pages of router, projector and second router say of their partitions."""
        async with httpx.AsyncClient(trust_env=False) as client:
            pages = [await client.get(f"http://127.0.0.1:{self.web + number}/health") for number in range(3)]
        return [page.json()["leases"] for page in pages]

    async def stop(self) -> int | None:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return await self.ended()

    async def ended(self) -> int | None:
        assert self._process is not None
        async with asyncio.timeout(60):
            await self._process.communicate()
        return self._process.returncode


def killed(folder: Path, words: Sequence[str]) -> None:
    """kill -9 of the processes of the folder whose command has these words."""
    for pid in children(folder):
        line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        # The process itself and not the one that watches over it.
        if all(word.encode() in line for word in words) and not any(part.endswith(b"tether.py") for part in line):
            os.kill(pid, signal.SIGKILL)


async def test_up_serves_survives_and_remembers(tmp_path: Path) -> None:
    folder = tmp_path / "my project"
    folder.mkdir()
    up = Up(folder)
    await up.start()
    try:
        first = await up.answer()
        assert first["routing"]["status"] == "ok", first
        assert await up.leases() == [{"router": True}, {"projector": True}, {"router": True}]
        killed(folder, ["worker", "router"])
        for name in ("worker", "worker-2"):
            await up.line(f"The {name} ended and was started again; see ")
        killed(folder, ["kafka.Kafka"])
        await up.line("Kafka is back.")
        second = await up.answer()
        assert second["routing"]["status"] == "ok", second
    finally:
        status = await up.stop()
    assert status == 0
    assert children(folder) == []
    await up.start()
    try:
        third = await up.answer()
        ids = [answer["routing"]["request_id"] for answer in (first, second, third)]
        async with asyncio.timeout(60):
            while (found := await up.completed()) != ids:
                await asyncio.sleep(0.2)
        assert found == ids
        assert await up.command("sql", "SELECT count() AS drifted FROM drift", "--format", "TSV") == "0\n"
    finally:
        assert await up.stop() == 0
    assert children(folder) == []


@pytest.mark.parametrize("setting", ["web.port", "sql.port", "--kafka-port", "--simulators-port"])
async def test_a_port_that_is_taken_is_named_with_its_setting(tmp_path: Path, setting: str) -> None:
    """Also the one after web.port, which is the projector's."""
    up = Up(tmp_path)
    taken = {"web.port": up.web + 1, "sql.port": up.sql, "--kafka-port": up.kafka, "--simulators-port": up.simulators}
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", taken[setting])
    async with server:
        with pytest.raises(AssertionError, match=rf"Port {taken[setting]} .* is in use: .* choose another {setting}\."):
            await up.start()
    assert await up.ended() == 1
    assert children(tmp_path) == []
