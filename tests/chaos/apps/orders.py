"""Functions that say that they have begun, and go on once that is noted: where they say it, nobody kills."""

import hashlib
import json
import os
import signal
import socket
import time

import modal

app = modal.App("chaos")
image = modal.Image.debian_slim()
FUNCTIONS = {"once": 5, "again": 5, "shared": 5, "batched": 5, "rare": 2, "alone": 1}  # how often each is called
MANY = modal.Retries(max_retries=3, initial_delay=0.0, backoff_coefficient=1.0)
ONE = modal.Retries(max_retries=1, initial_delay=0.0, backoff_coefficient=1.0)


def answer(token, size):
    digest = hashlib.sha256(token.encode()).hexdigest()
    return (digest * (size // len(digest) + 1))[:size]


def begun(order):
    """Say so; returns which start of this order it is."""
    told = {"token": order["token"], "container": os.environ["IONIAN_CONTAINER_ID"]}
    told["input"] = modal.current_input_id()
    with socket.create_connection(("127.0.0.1", order["port"]), timeout=30) as link, link.makefile("rw") as file:
        file.write(json.dumps(told) + "\n")
        file.flush()
        return int(file.readline())


def work(order):
    start = begun(order)
    if start == 1 and order["end"] == "exits":
        os._exit(7)
    if start == 1 and order["end"] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if start == 1 and order["end"] == "raises":
        raise RuntimeError(order["token"])
    time.sleep(order["seconds"])
    return answer(order["token"], order["size"])


@app.function(image=image, max_containers=2)
def once(order):
    return work(order)


@app.function(image=image, scaledown_window=2)
def rare(order):
    return work(order)


@app.function(image=image, max_containers=2, single_use_containers=True, retries=ONE)
def alone(order):
    return work(order)


@app.function(image=image, max_containers=1, retries=MANY)
def again(order):
    return work(order)


@app.function(image=image, max_containers=1)
@modal.concurrent(max_inputs=4)
def shared(order):
    return work(order)


@app.function(image=image, max_containers=1, retries=ONE)
@modal.batched(max_batch_size=3, wait_ms=30)
def batched(orders):
    return [work(order) for order in orders]
