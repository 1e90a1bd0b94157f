"""One container that takes one input after the other."""

import time

import modal

app = modal.App("measuring")


class Measure:
    def __init__(self, size):
        self.size = size


@app.function(max_containers=1)
def hold(seconds: float) -> None:
    time.sleep(seconds)


@app.function(max_containers=1)
def measure(data: bytes) -> int:
    return len(data)
