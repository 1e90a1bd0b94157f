"""Several inputs in one container at the same time: `modal run concurrency.py`.

Sync functions run in threads, async ones as tasks of one event loop. (`max_containers=1` shows it is one container.)
"""

import asyncio
import threading

import modal

app = modal.App("calls-concurrency")
together = threading.Barrier(4)
arrived = 0


@app.function(max_containers=1)
@modal.concurrent(max_inputs=4)
def in_threads(x: int) -> int:
    together.wait(60)  # nobody gets past this line before all four are here
    return x * x


@app.function(max_containers=1)
@modal.concurrent(max_inputs=50)
async def in_tasks(x: int) -> int:
    global arrived
    arrived += 1
    while arrived < 50:
        await asyncio.sleep(0.01)
    return x * x


@app.function(max_containers=2)
@modal.concurrent(max_inputs=10, target_inputs=2)  # more containers are started from two inputs each
async def spread(x: int) -> int:
    await asyncio.sleep(0.1)
    return x * x


@app.function(max_containers=1)
@modal.concurrent(max_inputs=4)
async def some_fail(x: int) -> int:
    if x == 2:
        raise ValueError(f"{x} fails alone")
    return x


@app.local_entrypoint()
def main():
    print("threads:", list(in_threads.map(range(4))))
    print("tasks:", sum(in_tasks.map(range(50))))
    print("target_inputs:", sum(spread.map(range(20))))
    for call in [some_fail.spawn(x) for x in (1, 2, 3)]:
        try:
            print("alone:", call.get())
        except ValueError as error:
            print("alone:", error)
