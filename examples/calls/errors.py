"""What the caller sees when a function fails: `modal run errors.py`.

Exceptions arrive as they were raised, with the traceback of the container; what cannot travel is said so.
"""

import threading
import traceback

import modal

app = modal.App("calls-errors")


class OutOfStock(Exception):
    def __init__(self, item: str, wanted: int):
        super().__init__(item, wanted)
        self.item = item
        self.wanted = wanted


class Locked(Exception):
    def __init__(self):
        super().__init__("holds a lock, which cannot be pickled")
        self.lock = threading.Lock()


def look_up(item: str) -> int:
    return {"apple": 3}[item]


@app.function()
def order(item: str) -> int:
    try:
        return look_up(item)
    except KeyError as error:
        raise OutOfStock(item, 1) from error


@app.function()
def lock():
    return threading.Lock()


@app.function()
def fail_with_a_lock():
    raise Locked()


def scaled_by(factor: int):
    def scale(x: int) -> int:
        return x * factor

    return scale


# Travels as it is, with what it closes over: the module need not be importable in the container.
scale = app.function(serialized=True, name="scale")(scaled_by(7))


@app.local_entrypoint()
def main():
    print("fine:", order.remote("apple"))
    try:
        order.remote("pear")
    except OutOfStock as error:
        print("attributes:", error.item, error.wanted)
        print("raised in:", traceback.extract_tb(error.__traceback__)[-1].name)
    try:
        lock.remote()
    except TypeError as error:
        print("a result that cannot be pickled:", type(error).__name__)
    try:
        fail_with_a_lock.remote()
    except modal.exception.SerializationError as error:
        print("an exception that cannot be pickled:", type(error).__name__, "says it", "holds a lock" in str(error))
    print("serialized=True:", scale.remote(6))
