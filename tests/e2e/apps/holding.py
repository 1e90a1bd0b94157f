"""Web functions that wait at the test's gate, so that the test sees who runs at the same time as whom."""

import http.client
import os
import uuid
from urllib.parse import urlsplit

import modal

app = modal.App("holding")
image = modal.Image.debian_slim().pip_install("fastapi")
BOOT = uuid.uuid4().hex  # names this container


def hold(gate: str) -> dict[str, str]:
    connection = http.client.HTTPConnection(urlsplit(gate).netloc, timeout=90)
    connection.request("GET", f"/{BOOT}")
    connection.getresponse().read()
    connection.close()
    return {"boot": BOOT}


@app.function(image=image, max_containers=1)
@modal.fastapi_endpoint()
def alone(gate: str = ""):
    return hold(gate) if gate else {"boot": BOOT}


@app.function(image=image, max_containers=2)
@modal.fastapi_endpoint()
def pair(gate: str):
    return hold(gate)


@app.function(image=image, max_containers=1)
@modal.concurrent(max_inputs=10)
@modal.fastapi_endpoint()
def many(gate: str):
    return hold(gate)


@app.function(image=image, scaledown_window=2)
@modal.fastapi_endpoint()
def brief():
    return {"boot": BOOT}


@app.function(image=image, max_containers=1)
@modal.fastapi_endpoint()
def says(word: str):
    print("it says", word)
    return {"boot": BOOT}


@app.function(image=image)
@modal.fastapi_endpoint()
def ends():
    print("about to end", flush=True)
    os._exit(3)
