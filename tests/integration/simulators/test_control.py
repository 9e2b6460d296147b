"""Simulators that are switched, counted and scripted, and as a process of their own."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from simulator_world import ASK, FAST, ask, billed

from infra.simulators import Outage, ProviderScript, RunningSimulators, start_simulators
from infra.simulators.script import read_scripts, script_from_json, script_to_json


async def test_control_switches_while_it_runs(client: httpx.AsyncClient) -> None:
    assert (await ask(client)).status_code == 200
    switched = await client.post("/control/alpha", json={"fault": "status_503", "for_s": 3600})
    assert switched.status_code == 200
    assert (await ask(client)).status_code == 503
    assert (await ask(client, "beta")).status_code == 200
    shown = (await client.get("/control")).json()["providers"]
    assert shown["alpha"]["active"]["fault"] == "status_503" and shown["beta"]["active"] is None
    assert script_from_json(shown["alpha"]["script"]) == FAST
    await client.post("/control/alpha", json={"fault": "status_503", "for_s": 0})
    assert (await ask(client)).status_code == 200
    await client.post("/control/alpha", json={"fault": "status_503", "share": 0.5})
    statuses = {(await ask(client)).status_code for _ in range(40)}
    assert statuses == {200, 503}
    await client.post("/control/alpha", json={"fault": None})
    assert (await ask(client)).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/control/alpha", {"fault": "status_999"}, "stream_stall"),
        ("/control/alpha", {}, "stream_stall"),
        ("/control/alpha", {"fault": 3}, "stream_stall"),
        ("/control/alpha", {"fault": "hang", "shares": 1}, "shares"),
        ("/control/alpha", {"fault": "hang", "share": 2}, "share"),
        ("/control/alpha", {"fault": "hang", "seconds": "1"}, "seconds"),
        ("/control/nobody", {"fault": "hang"}, "alpha, beta"),
        ("/control", {"fault": "hang"}, "POST /control/NAME"),
    ],
)
async def test_a_wrong_control_request_is_told_what_is_allowed(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], named: str
) -> None:
    response = await client.post(path, json=body)
    assert response.status_code == 400 and named in response.json()["error"]["message"]


async def test_bill_counts_calls_probes_and_tokens(client: httpx.AsyncClient, simulators: RunningSimulators) -> None:
    usage = (await client.post("/alpha/v1/chat/completions", json=ASK, headers={"x-turnout-attempt": "r-1/2"})).json()[
        "usage"
    ]
    probe = await ask(client, max_completion_tokens=1)
    simulators.control("alpha", "status_500")
    await ask(client)
    simulators.control("alpha", None)
    await billed(simulators, 3)
    bill = (await client.get("/control/bill?requests=1")).json()
    sums = bill["providers"]["alpha"]
    assert (sums["requests"], sums["probes"], sums["aborted"]) == (3, 1, 0)
    assert sums["outcomes"] == {"ok": 2, "status_500": 1}
    assert sums["prompt_tokens"] == 2 * usage["prompt_tokens"]
    assert sums["completion_tokens"] == usage["completion_tokens"] + 1
    calls = [dict(zip(bill["columns"], row, strict=True)) for row in bill["requests"]]
    assert [call["attempt"] for call in calls] == ["r-1/2", None, None]
    assert [call["status"] for call in calls] == [200, 200, 500]
    assert calls[1]["request_id"] == probe.headers["x-request-id"]
    await client.delete("/control/bill")
    assert (await client.get("/control/bill?requests=1")).json()["requests"] == []
    assert simulators.bill()["providers"]["alpha"]["requests"] == 0


async def test_the_list_of_calls_is_bounded_and_its_sums_are_not() -> None:
    async with (
        await start_simulators({"alpha": FAST}, bill_limit=2) as running,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", trust_env=False) as client,
    ):
        for _ in range(3):
            await ask(client)
        assert (await billed(running, 3))["requests"] == 3
        assert len(running.bill(requests=True)["requests"]) == 2


async def test_scripts_bring_limits_outages_mixes_and_usage_details() -> None:
    scripts = {
        "limited": ProviderScript(latency_ms=1.0, requests_per_minute=2),
        "out": ProviderScript(latency_ms=1.0, outages=(Outage(start_s=0, end_s=3600, fault="status_502"),)),
        "later": ProviderScript(latency_ms=1.0, outages=(Outage(start_s=3600, end_s=7200, fault="status_502"),)),
        "mixed": ProviderScript(latency_ms=0.1, errors={"status_500": 0.3, "status_503": 0.3}),
        "thinker": ProviderScript(latency_ms=1.0, reasoning_share=2.0, cached_share=0.5),
        "paced": ProviderScript(latency_ms=1.0, tokens_per_second=20_000.0),
    }
    mixes = []
    for _ in range(2):
        async with (
            await start_simulators(scripts, seed=3) as running,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", trust_env=False) as client,
        ):
            limited = [await ask(client, "limited") for _ in range(3)]
            assert [response.status_code for response in limited] == [200, 200, 429]
            assert limited[0].headers["x-ratelimit-remaining-requests"] == "1"
            assert 0 < int(limited[2].headers["retry-after"]) <= 60
            assert (await ask(client, "out")).status_code == 502
            assert (await ask(client, "later")).status_code == 200
            assert (await ask(client, "paced")).status_code == 200
            usage = (await ask(client, "thinker", messages=[{"role": "user", "content": "a" * 8192}])).json()["usage"]
            assert usage["completion_tokens_details"]["reasoning_tokens"] > usage["completion_tokens"] / 2
            assert usage["prompt_tokens_details"]["cached_tokens"] == 1024
            mixes.append([(await ask(client, "mixed")).status_code for _ in range(30)])
    assert mixes[0] == mixes[1] and set(mixes[0]) == {200, 500, 503}


async def test_wrong_scripts_are_named(tmp_path: Path) -> None:
    file = tmp_path / "scripts.json"
    file.write_bytes(orjson.dumps({"alpha": script_to_json(FAST)}))
    assert read_scripts(file) == {"alpha": FAST}
    for wrong, named in (
        (b"{", "not JSON"),
        (b"[]", "one object"),
        (b'{"alpha": {"latency": 1}}', "latency_ms"),
        (b'{"alpha": {"latency_ms": "fast"}}', "wrong type"),
        (b'{"control": {}}', "control"),
        (b'{"alpha": {"errors": {"status_500": 2}}}', "at most 1"),
    ):
        file.write_bytes(wrong)
        with pytest.raises(ValueError, match=named):
            read_scripts(file)
    with pytest.raises(ValueError, match="stream_stall"):
        await start_simulators({"alpha": ProviderScript(errors={"nothing": 0.1})})


async def test_as_a_process_it_says_where_it_listens_and_ends_on_a_signal() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.simulators", "--port", "0", "--seed", "7", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        assert line.startswith("listening on 127.0.0.1:")
        async with httpx.AsyncClient(base_url=f"http://{line.split()[-1]}", trust_env=False) as client:
            await client.post("/control/local", json={"fault": "hang"})
            waiting = asyncio.create_task(ask(client, "local"))
            async with asyncio.timeout(5):
                while (await client.get("/control")).json()["providers"]["local"]["requests"] < 1:
                    await asyncio.sleep(0)
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(5):
                assert await process.wait() == 0
            with pytest.raises(httpx.TransportError):
                await waiting
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
