"""Functions that are tried again, and functions that take too long: `modal run retrying.py`.

`retries` counts what comes after the first try; when they are used up, the last exception is the caller's.
"""

import time
from itertools import pairwise

import modal

app = modal.App("calls-retrying")
tries: dict[str, list[float]] = {}


def another(name: str) -> int:
    """Which try of this name it is, in this container."""
    tries.setdefault(name, []).append(time.monotonic())
    return len(tries[name])


@app.function(retries=2, max_containers=1)
def third_time_lucky(name: str) -> str:
    if another(name) < 3:
        raise ConnectionError("the network is down")
    return f"{name} on try {len(tries[name])}"


@app.function(retries=1, max_containers=1)
def hopeless(name: str):
    raise RuntimeError(f"{name} failed on try {another(name)}")


@app.function(retries=modal.Retries(max_retries=3, initial_delay=0.2, backoff_coefficient=2.0), max_containers=1)
def patient(name: str) -> list[bool]:
    if another(name) < 4:
        raise ConnectionError("the network is down")
    waits = [after - before for before, after in pairwise(tries[name])]
    return [wait >= least for wait, least in zip(waits, (0.2, 0.4, 0.8), strict=True)]


@app.function(timeout=1)
def endless():
    time.sleep(600)


@app.function(timeout=2, retries=1, max_containers=1)
def quick_the_second_time(name: str, deadline: float) -> str:
    this = another(name)
    time.sleep(max(0.0, deadline - time.time()))
    return f"in time on try {this}"


@app.local_entrypoint()
def main():
    print("retries=2:", third_time_lucky.remote("one"))
    print("in a map:", list(third_time_lucky.map(["two", "three"])))
    print("spawned:", third_time_lucky.spawn("four").get())
    try:
        hopeless.remote("five")
    except RuntimeError as error:
        print("used up:", error)
    print("Retries(), each wait longer:", patient.remote("six"))
    try:
        endless.remote()
    except modal.exception.FunctionTimeoutError:
        print("timeout=1: over")
    quick_the_second_time.remote("warm", 0)
    print("timeout with retries:", quick_the_second_time.remote("seven", time.time() + 3))
