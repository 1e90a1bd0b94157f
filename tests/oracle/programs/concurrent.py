import asyncio
import threading

import modal

app = modal.App("concurrent")
arrived = 0
barrier = threading.Barrier(3)


@app.function(max_containers=1)
@modal.concurrent(max_inputs=3)
async def meet(number):
    global arrived
    arrived += 1
    while arrived % 3:
        await asyncio.sleep(0.01)
    return number, arrived


@app.function(max_containers=1)
@modal.concurrent(max_inputs=3)
def meet_in_threads(number):
    barrier.wait(60)
    if number == 1:
        raise ValueError("one")
    return number, threading.current_thread() is threading.main_thread()


@app.local_entrypoint()
def main():
    from telling import tell, told_app

    told_app(app)
    tell("tasks", lambda: list(meet.map(range(3))))
    tell("ids", lambda: list(meet.map(range(6))))
    calls = [meet_in_threads.spawn(number) for number in range(3)]
    for call in calls:
        tell("thread", lambda: call.get())
