"""Web functions that take longer than they may, and one whose name is also the path of its documentation."""

import asyncio
import time
import uuid

import modal

app = modal.App("overdue")
image = modal.Image.debian_slim().pip_install("fastapi")
BOOT = uuid.uuid4().hex  # names this container


@app.function(image=image, max_containers=1, timeout=2, startup_timeout=60)
@modal.fastapi_endpoint()
def blocked(hang: bool = False):
    if hang:
        time.sleep(600)
    return {"boot": BOOT}


@app.function(image=image, max_containers=1, timeout=2, startup_timeout=60)
@modal.fastapi_endpoint()
async def awaited(hang: bool = False):
    try:
        if hang:
            await asyncio.sleep(600)
    except asyncio.CancelledError:
        print("cancelled in", BOOT, flush=True)
        raise
    return {"boot": BOOT}


@app.function(image=image, max_containers=1)
@modal.fastapi_endpoint(docs=True)
def docs():
    return {"boot": BOOT}
