"""What the benchmark of calls calls: the least a function can do, in one container that is never idle too long."""

import time

import modal

app = modal.App("bench-calls")


@app.function(image=modal.Image.debian_slim(), max_containers=1, timeout=3600, scaledown_window=1200)
def plus_one(x):
    if x < 0:  # keeps the container busy until it is cancelled: what comes behind it queues
        time.sleep(3600)
    return x + 1
