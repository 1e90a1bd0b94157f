"""Single inputs that run as batches: `modal run batching.py`.

A batch goes out when it has `max_batch_size` inputs, or when its first has waited `wait_ms`. Every caller gets its own.
"""

import modal

app = modal.App("calls-batching")


@app.function(max_containers=1)
@modal.batched(max_batch_size=4, wait_ms=3000)
def square(xs: list[int]) -> list[tuple[int, int]]:
    return [(x * x, len(xs)) for x in xs]


@app.function(max_containers=1)
@modal.batched(max_batch_size=10, wait_ms=100)
async def add(xs: list[int], ys: list[int]) -> list[int]:
    return [x + y for x, y in zip(xs, ys, strict=True)]


@app.function()
@modal.batched(max_batch_size=2, wait_ms=10)
def forgetful(xs: list[int]) -> list[int]:
    return xs[1:]


@app.cls(max_containers=1)
class Scale:
    @modal.enter()
    def begin(self):
        self.factor = 10

    @modal.batched(max_batch_size=3, wait_ms=100)
    def times(self, xs: list[int]) -> list[int]:
        return [x * self.factor for x in xs]


@app.local_entrypoint()
def main():
    print("full batches:", list(square.map(range(8))))
    print("one alone waits, then goes:", square.remote(9))
    print("two arguments:", list(add.starmap([(1, 2), (3, 4)])))
    print("method:", list(Scale().times.map(range(4))))
    try:
        forgetful.remote(1)
    except modal.exception.InvalidError as error:
        print("wrong length:", str(error).splitlines()[0])
