"""What the JavaScript client calls."""

import time

import modal

app = modal.App("js-calls")


class TooSmall(ValueError):
    pass


@app.function()
def echo(*args, **kwargs):
    return [list(args), kwargs]


@app.function()
def kinds(*args):
    return [f"{type(value).__name__} {value!r}" for value in args]


@app.function()
def values():
    from datetime import UTC, datetime

    when = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
    return {"bytes": b"\x00\xff", "when": when, "large": 2**62, "larger": 2**70, "nested": [{"a": [None, True, 1.5]}]}


@app.function()
def fail(text):
    raise TooSmall(text)


@app.function()
def unencodable():
    return object()


@app.function()
def sleep(seconds):
    time.sleep(seconds)
    return "slept"


@app.function(timeout=1)
def too_slow():
    time.sleep(60)


@app.function()
def size(data):
    return [type(data).__name__, len(data), data[-1]]


@app.function()
def zeros(n):
    return bytes(n)


@app.function()
def count(n):
    yield from range(n)


@app.cls()
class Model:
    @modal.enter()
    def load(self):
        self.base = 40

    @modal.method()
    def add(self, x, times=1):
        return self.base + x * times


@app.cls()
class WithParameter:
    x: int = modal.parameter()

    @modal.method()
    def get(self):
        return self.x
