"""The simulators' own paths: switch faults while they run, and read what was billed.

GET /control; POST /control/NAME {"fault": NAME or null, "share", "for_s", "seconds", "stall_after", "retry_after_s"};
GET /control/bill[?requests=1]; DELETE /control/bill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from infra.simulators.faults import FAULTS
from infra.simulators.script import script_to_json

if TYPE_CHECKING:
    from infra.simulators.server import Simulator

_NUMBERS: Final = ("share", "for_s", "seconds", "stall_after", "retry_after_s")
_PATHS: Final = "use GET /control, POST /control/NAME, GET /control/bill or DELETE /control/bill"


async def answer_control(simulator: Simulator, request: web.BaseRequest) -> web.Response:
    """Answer a request under /control; every error is a 400 of one sentence."""
    subject = request.path.removeprefix("/control").strip("/")
    match request.method, subject:
        case "GET", "":
            return _json(_shown(simulator))
        case "GET", "bill":
            return _json(simulator.bill.shown(requests=request.query.get("requests") == "1"))
        case "DELETE", "bill":
            simulator.bill.reset()
            return _json({"reset": True})
        case "POST", name if name not in ("", "bill"):
            try:
                fault, how = _switch(await request.content.read())
                simulator.control(name, fault, **how)
            except ValueError as wrong:
                return _json({"error": {"message": str(wrong)}}, status=400)
            return _json({"provider": name, "fault": fault, **how})
        case _:
            return _json({"error": {"message": f"there is no such control; {_PATHS}"}}, status=400)


def _switch(body: bytes) -> tuple[str | None, dict[str, Any]]:
    """(fault, its settings); ValueError says what to send."""
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        given = None
    if not isinstance(given, dict) or "fault" not in given:
        raise ValueError(f'send {{"fault": NAME}} or {{"fault": null}}; faults are {", ".join(FAULTS)}')
    fault = given.pop("fault")
    if fault is not None and not isinstance(fault, str):
        raise ValueError(f"fault must be null or one of {', '.join(FAULTS)}")
    unknown = sorted(set(given) - set(_NUMBERS))
    if unknown:
        raise ValueError(f"there is no {', '.join(unknown)}; beside fault give any of {', '.join(_NUMBERS)}")
    how = {name: value for name, value in given.items() if value is not None}
    wrong = [
        name for name, value in how.items() if type(value) not in ((int,) if name == "stall_after" else (int, float))
    ]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} must be a number or null, and stall_after a whole one")
    return fault, how


def _shown(simulator: Simulator) -> dict[str, Any]:
    age_s = simulator.age_s()
    now = simulator.started + age_s
    providers: dict[str, Any] = {}
    for name, provider in simulator.providers.items():
        fault = provider.fault
        active = None
        if fault is not None and (fault.until is None or now < fault.until):
            left_s = None if fault.until is None else round(fault.until - now, 3)
            active = {
                "fault": fault.name,
                "share": fault.share,
                "left_s": left_s,
                "seconds": fault.seconds,
                "stall_after": fault.stall_after,
                "retry_after_s": fault.retry_after_s,
            }
        outages = [outage.fault for outage in provider.script.outages if outage.start_s <= age_s < outage.end_s]
        providers[name] = {
            "script": script_to_json(provider.script),
            "active": active,
            "outage": outages[0] if outages else None,
            "requests": provider.served,
        }
    return {"seed": simulator.seed, "age_s": round(age_s, 3), "faults": list(FAULTS), "providers": providers}


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")
