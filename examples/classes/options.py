"""The same class with other settings: `modal run options.py`.

Each of these makes a class of its own beside the original, with containers of its own.
"""

import time

import modal

app = modal.App("classes-options")


@app.cls(timeout=60)
class Worker:
    @modal.method()
    def wait(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @modal.method()
    def together(self, numbers: list[int]) -> list[str]:
        return [f"{number} of {len(numbers)}" for number in numbers]


def elapsed(calls) -> float:
    began = time.monotonic()
    list(calls)
    return time.monotonic() - began


@app.local_entrypoint()
def main():
    impatient = Worker.with_options(timeout=1, cpu=0.5, memory=256)
    try:
        impatient().wait.remote(60)
    except modal.exception.FunctionTimeoutError:
        print("with_options(timeout=1): over")
    print("the class itself:", Worker().wait.remote(1.5))

    wide = Worker.with_options(max_containers=1).with_concurrency(max_inputs=4)
    wide().wait.remote(0)
    print("with_concurrency(max_inputs=4):", "at once" if elapsed(wide().wait.map([1] * 4)) < 3.5 else "one by one")

    batched = Worker.with_batching(max_batch_size=3, wait_ms=2000)
    print("with_batching(max_batch_size=3):", sorted(batched().together.map([1, 2, 3])))
