"""A server that comes while a worker starts or ends: it waits for that, or starts the next."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

from ionian.config import Config, make_home
from ionian.engines.local import LocalEngine


async def test_the_lock_of_a_worker_that_ends(tmp_path: Path) -> None:
    config = Config(home=tmp_path / "home")
    make_home(config)
    lock = os.open(config.run / "worker.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    engine = LocalEngine(config)
    connecting = asyncio.create_task(engine.connect())
    refused = config.logs / "worker.log"
    async with asyncio.timeout(30):
        while not refused.exists() or "another worker" not in refused.read_text():
            await asyncio.sleep(0.02)
    assert not connecting.done()
    os.close(lock)
    assert (await connecting).pid
    await engine.shutdown(1)
