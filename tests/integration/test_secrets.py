"""Prompts, answers, keys and what providers say stay where they belong: in requests, responses and chunks."""

import asyncio
import signal
from pathlib import Path

import orjson
from loop import Bench, catalog, chat, prepared, settings_for
from processes import HeldProvider, WorkerProcess

from infra.kafka import EmbeddedKafka
from schemas.chat_avro import encode_request

PROMPT, ANSWER, KEY, REFUSAL = "canaryprompt", "re: canaryprompt", "canarykey", "canaryrefusal"
CANARIES = tuple(word.encode() for word in (PROMPT, KEY, REFUSAL))
STATUSES = {"s500": 500, "s400": 400, "s401": 401, "s429": 429, "s200": 200}


def refusal(status: int) -> bytes:
    """What a careless provider says: it quotes the prompt and the key."""
    said = f"{REFUSAL} {PROMPT} Bearer {KEY}"
    error = {"message": said, "type": said, "code": said, "param": said}
    return orjson.dumps({"error": error} if status != 200 else {"choices": said, "error": said})


async def test_canaries_are_found_nowhere_else(kafka: EmbeddedKafka, prefix: str, tmp_path: Path) -> None:
    provider = HeldProvider()
    provider.refusals = {name: (status, refusal(status)) for name, status in STATUSES.items()}
    async with provider.serving():
        document = catalog(provider.base_url, dict.fromkeys(["good", *STATUSES], "primary"))
        for deployment in document["deployments"]:
            deployment["api_key"] = "env:CANARY_KEY"
        # A port that nobody listens on: the error of a connection names what was sent where.
        document["deployments"].append(document["deployments"][0] | {"id": "gone", "base_url": "http://127.0.0.1:9/v1"})
        settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, document))
        requests = {"answered": "good"} | {name: name for name in (*STATUSES, "gone")}
        async with Bench(settings) as bench:
            worker = await WorkerProcess(settings, tmp_path, "worker", environment={"CANARY_KEY": KEY}).start()
            try:
                for name, deployment in requests.items():
                    await bench.publish(
                        chat(f"{PROMPT} {name}", allow=[deployment], deadline_ms=5_000), request_id=name
                    )
                broken = {
                    "cut": b'{"messages": [{"role": "user", "content": "canaryprompt',
                    "wrong": orjson.dumps({"messages": [{"role": PROMPT, "content": PROMPT}]}),
                    "routing": orjson.dumps(chat(PROMPT) | {"routing": {"strategy": PROMPT}}),
                    "text": PROMPT.encode(),
                }
                for name, value in broken.items():
                    await bench.publish(value, request_id=name)
                avro = (("content-type", b"avro/binary"),)
                await bench.publish(encode_request(chat(PROMPT))[:-4], request_id="avro-cut", headers=avro)
                count = len(requests) + len(broken) + 1
                topic = bench.topics.requests[0]
                answers = {}
                async with asyncio.timeout(60):
                    while len(answers) < count:
                        answers = {
                            dict(r.headers)["request-id"].decode(): r for r in await bench.records(topic.responses)
                        }
            finally:
                worker.signal(signal.SIGTERM)
            assert await worker.ended() == 0
            scanned = 0
            for name in bench.topics.all():
                if name in (topic.name, topic.responses, topic.chunks):
                    continue
                for record in await bench.records(name):
                    parts = [record.key or b"", record.value or b"", *(item for _, item in record.headers)]
                    scanned += sum(map(len, parts))
                    for canary in CANARIES:
                        assert not any(canary in part for part in parts), (
                            name,
                            record.partition,
                            record.offset,
                            canary,
                        )
    log = worker.child.log.read_bytes()
    assert b"worker started" in log
    for canary in CANARIES:
        assert canary not in log
    assert scanned > 10_000
    # The answer itself is the caller's; no error says anything of the content, the key or what the provider said.
    answered = orjson.loads(answers.pop("answered").value)
    assert answered["choices"][0]["message"]["content"] == f"{ANSWER} answered"
    for name, record in answers.items():
        assert dict(record.headers)["turnout-status"] == b"error", name
        for canary in CANARIES:
            assert canary not in record.value, (name, record.value)
