"""Functions that reach another app by name, wait for each other, and say what they know of their container."""

import os
import urllib.request
from typing import Any

import modal

app = modal.App("asking")


@app.function()
def names() -> dict[str, Any]:
    square = modal.Function.from_name("inside", "square")
    adder = modal.Cls.from_name("inside", "Adder")
    try:
        modal.Function.from_name("inside", "square", environment_name="elsewhere").remote(1)
        elsewhere = "found"
    except Exception as error:  # noqa: BLE001 - the clients raise different ones
        elsewhere = str(error)
    return {"square": square.remote(8), "add": adder().add.remote(2, 3), "elsewhere": elsewhere}


@app.function()
def wait_at(gate: str) -> str:
    return str(urllib.request.urlopen(f"{gate}/child", timeout=90).status)


@app.function()
def wait_for_child(gate: str) -> str:
    return "child says " + wait_at.remote(gate)


@app.function()
def token() -> list[str]:
    return [os.environ["MODAL_TOKEN_ID"], os.environ["MODAL_TOKEN_SECRET"]]


@app.function()
def token_again() -> list[str]:
    return [os.environ["MODAL_TOKEN_ID"], os.environ["MODAL_TOKEN_SECRET"]]


@app.function()
def one_more(x: int) -> int:
    return x + 1


def made() -> Any:
    """A function that exists nowhere but here, and another that it calls by its handle."""

    def two_more(x: int) -> int:
        return one_more.remote(one_more.remote(x))

    return two_more


two_more = app.function(serialized=True)(made())


@app.local_entrypoint()
def main() -> None:
    print("told", two_more.remote(1))
