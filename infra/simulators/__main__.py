"""`python -m infra.simulators --port 9100 --seed 7 [--script FILE.json]`: simulated providers as a process."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import uvloop

from infra.simulators.script import DEFAULT_SCRIPTS, ProviderScript, read_scripts
from infra.simulators.server import start_simulators


async def serve(scripts: Mapping[str, ProviderScript], *, port: int, seed: int, bill_limit: int) -> None:
    """Run until SIGTERM or SIGINT; prints one line when it listens."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with await start_simulators(scripts, port=port, seed=seed, bill_limit=bill_limit) as running:
        # The bill keeps up to 200,000 tuples, which the collector would walk again and again for nothing.
        gc.freeze()
        gc.set_threshold(50_000, 50, 100)
        print(f"listening on 127.0.0.1:{running.port}", flush=True)
        await stop.wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 after a signal, 1 if it cannot listen, 2 for a wrong argument or script."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.simulators",
        description="Simulated LLM providers on 127.0.0.1.",
        epilog="example: python -m infra.simulators --port 9100 --seed 7",
    )
    parser.add_argument("--port", type=int, default=9100, help="0 for any free port (default 9100)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same answers (default 0)")
    parser.add_argument("--script", type=Path, help="JSON file: provider name to script; four providers by default")
    parser.add_argument("--bill-limit", type=int, default=200_000, help="calls kept one by one (default 200000)")
    given = parser.parse_args(argv)
    try:
        scripts = read_scripts(given.script) if given.script else DEFAULT_SCRIPTS
        uvloop.run(serve(scripts, port=given.port, seed=given.seed, bill_limit=given.bill_limit))
    except ValueError as wrong:
        print(f"simulators: {wrong}", file=sys.stderr)
        return 2
    except (OSError, OverflowError) as taken:
        print(f"simulators: cannot listen on port {given.port} ({taken}); choose another with --port", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
