"""A small disk is full when it is filled, stands still when it is stalled, and is as before afterwards."""

import asyncio
import errno
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.chaos import stall
from infra.chaos.disk import Disk, mounted, own_mounts
from infra.chaos.faults import FAULTS, SMALL_DISKS
from schemas.errors import OperationError


async def on_a_disk(folder: Path, body: Callable[[Disk], object]) -> None:
    """In a thread of its own, for it gets mounts of its own."""

    def run() -> str:
        try:
            own_mounts()
            disk = mounted(folder)
        except OperationError as error:
            return str(error)
        try:
            body(disk)
        finally:
            disk.unmount()
        return ""

    if reason := await asyncio.to_thread(run):
        pytest.skip(reason)


async def test_a_filled_disk_takes_nothing_until_it_is_relieved(tmp_path: Path) -> None:
    def body(disk: Disk) -> None:
        target = disk.folder / "a"
        target.write_bytes(b"kept")
        disk.fill()
        with pytest.raises(OSError, match="No space left") as raised:
            (disk.folder / "b").write_bytes(bytes(1 << 20))
        assert raised.value.errno == errno.ENOSPC
        disk.relieve()
        (disk.folder / "b").write_bytes(bytes(1 << 20))
        assert target.read_bytes() == b"kept"

    await on_a_disk(tmp_path / "small", body)
    assert list((tmp_path / "small").iterdir()) == []


async def test_a_stalled_disk_stands_still_until_its_holder_ends(tmp_path: Path) -> None:
    def frozen(folder: int) -> bool:
        try:
            fcntl.ioctl(folder, stall.FIFREEZE, 0)
        except OSError as error:
            return error.errno == errno.EBUSY
        fcntl.ioctl(folder, stall.FITHAW, 0)
        return False

    def body(disk: Disk) -> None:
        folder = os.open(disk.folder, os.O_RDONLY)
        holder = subprocess.Popen(
            [sys.executable, "-I", "-S", stall.__file__, str(disk.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            deadline = time.monotonic() + 60
            while not frozen(folder):
                assert time.monotonic() < deadline
            holder.communicate(timeout=60)
            assert holder.returncode == 0
            assert not frozen(folder)
            (disk.folder / "a").write_bytes(b"written")
        finally:
            holder.kill()
            os.close(folder)

    await on_a_disk(tmp_path / "small", body)


def test_faults_of_disks_are_faults() -> None:
    assert set(SMALL_DISKS) <= set(FAULTS)
