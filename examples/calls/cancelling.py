"""Calls that are cancelled, and code that hears of it: `modal run cancelling.py`.

In sync code `modal.exception.InputCancellation` is raised wherever it stands, in async code `asyncio.CancelledError`.
The container lives on.
"""

import asyncio
import time

import modal

app = modal.App("calls-cancelling")


@app.cls(max_containers=1)
class Worker:
    @modal.enter()
    def begin(self):
        self.diary = []

    @modal.method()
    def work(self):
        yield modal.current_function_call_id()  # tells the caller that it has begun
        try:
            time.sleep(600)
        except modal.exception.InputCancellation:
            self.diary.append("tidied up")
            raise

    @modal.method()
    async def work_async(self):
        yield modal.current_function_call_id()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.diary.append("tidied up asynchronously")
            raise

    @modal.method()
    def read(self) -> list[str]:
        return self.diary


@app.function(max_containers=1)
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def outcome(call: modal.FunctionCall) -> object:
    try:
        return call.get()
    except modal.Error as error:
        return type(error).__name__


@app.local_entrypoint()
def main():
    worker = Worker()
    for method in (worker.work, worker.work_async):
        items = method.remote_gen()
        running = modal.FunctionCall.from_id(next(items))
        running.cancel()
        print("cancelled while it ran:", outcome(running))
    print("the container's diary:", worker.read.remote())

    first, second = sleep.spawn(600), sleep.spawn(0)
    second.cancel()
    print("cancelled while it waited:", outcome(second))
    first.cancel(terminate_containers=True)  # does not ask the code
    print("cancelled with its container:", outcome(first))
    done = sleep.spawn(0)
    print("finished:", outcome(done))
    done.cancel()
    print("too late to cancel:", outcome(done))
