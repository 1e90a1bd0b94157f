"""Functions with arguments for the command line, and one that waits at the test's gate."""

import http.client
import uuid
from urllib.parse import urlsplit

import modal

app = modal.App("arguments")
BOOT = uuid.uuid4().hex  # names this container


@app.function()
def add(a: int, b: float = 2.0, loud: bool = False):
    print(f"the sum is {a + b}{'!' if loud else ''}")


@app.function()
def wait(gate: str):
    print("arrived", flush=True)
    connection = http.client.HTTPConnection(urlsplit(gate).netloc, timeout=90)
    connection.request("GET", f"/{BOOT}")
    connection.getresponse().read()
    connection.close()
    return BOOT


@app.function()
def say(word: str):
    print("told", word)


@app.local_entrypoint()
def tell(times: int, word: str = "hello"):
    if not times:
        raise ValueError("no such thing to tell")
    for _ in range(times):
        say.remote(word)
    return f"told {times} times"
