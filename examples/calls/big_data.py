"""Arguments and results of many megabytes: `modal run big_data.py`.

What is too large for a message travels beside it, as a blob; a result may have 1 GiB.
"""

import hashlib
import os

import modal

app = modal.App("calls-big-data")
MiB = 1024 * 1024


@app.function()
def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@app.function()
def zeros(megabytes: int) -> bytes:
    return bytes(megabytes * MiB)


@app.function()
def there_and_back(data: bytes) -> bytes:
    return data[::-1]


@app.function()
def pieces(megabytes: int):
    for _ in range(megabytes):
        yield bytes(MiB)


@app.local_entrypoint()
def main():
    data = os.urandom(20 * MiB)
    print("a large argument:", digest.remote(data) == hashlib.sha256(data).hexdigest())
    print("a large result:", len(zeros.remote(50)) // MiB, "MiB")
    print("both:", there_and_back.remote(data) == data[::-1])
    print("spawned:", len(zeros.spawn(10).get()) // MiB, "MiB")
    print("in a map:", [len(back) // MiB for back in there_and_back.map([bytes(n * MiB) for n in (1, 3, 9)])])
    print("item by item:", sum(len(piece) for piece in pieces.remote_gen(32)) // MiB, "MiB")
