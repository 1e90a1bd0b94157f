"""Results that come one by one: `modal run generators.py`.

A function that yields is called with `.remote_gen()`. It stays at most some hundred items ahead of whoever reads.
"""

import asyncio

import modal

app = modal.App("calls-generators")


@app.function()
def squares(n: int):
    for i in range(n):
        yield i * i


@app.function()
async def squares_async(n: int):
    for i in range(n):
        await asyncio.sleep(0)
        yield i * i


@app.function()
def count_and_fail(n: int):
    yield from range(n)
    raise ValueError(f"failed after {n}")


@app.cls()
class Speaker:
    @modal.enter()
    def begin(self):
        self.words = ["the", "quick", "brown", "fox"]

    @modal.method()
    def speak(self):
        yield from self.words


async def from_async_code():
    print("remote_gen.aio:", [i async for i in squares_async.remote_gen.aio(3)])


@app.local_entrypoint()
def main():
    print("items:", list(squares.remote_gen(5)))
    print("async items:", list(squares_async.remote_gen(5)))
    print("many:", sum(squares.remote_gen(3000)))
    print("method:", " ".join(Speaker().speak.remote_gen()))
    print("nothing:", list(squares.remote_gen(0)))

    for square in squares.remote_gen(10**12):
        if square > 20:
            break  # the rest is never made
    print("left early at:", square)

    seen = []
    try:
        for i in count_and_fail.remote_gen(3):
            seen.append(i)
    except ValueError as error:
        print("failed:", seen, error)
    asyncio.run(from_async_code())
