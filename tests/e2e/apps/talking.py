"""Prints numbered lines, and runs as `modal run` too. Written so that old and new clients load it."""

import sys

import modal

app = modal.App("talking")


@app.function()
def square(x):
    for number in range(20):
        print(f"line {number} of {x} é", file=sys.stderr if number % 3 else sys.stdout)
    return x * x


@app.function()
def fails(x):
    raise ValueError(f"no square of {x}")


@app.local_entrypoint()
def main(x: int = 7):
    print("the square is", square.remote(x))


@app.local_entrypoint()
def failing():
    fails.remote(3)
