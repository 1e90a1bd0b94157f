"""The ways to call one function: `modal run calling.py`.

`.remote()` runs it in a container, `.local()` in this process; both have an `.aio` form for async programs.
"""

import asyncio

import modal

app = modal.App("calls-calling")


@app.function()
def square(x: int) -> str:
    return f"{x * x}, {'here' if modal.is_local() else 'in a container'}"


@app.function()
async def greet(name: str, *, greeting: str = "Hello") -> str:
    return f"{greeting}, {name}!"


@app.cls()
class Counter:
    @modal.enter()
    def start(self):  # once for each container, before its first call
        self.calls = 0

    @modal.method()
    def count(self) -> int:
        self.calls += 1
        return self.calls


async def from_async_code():
    print("remote.aio:", await square.remote.aio(4))
    both = await asyncio.gather(greet.remote.aio("Ada"), greet.remote.aio("Alan", greeting="Hi"))
    print("at once:", both)


@app.local_entrypoint()
def main():
    print("remote:", square.remote(3))
    print("local:", square.local(3))
    print("async function:", greet.remote("Grace", greeting="Good day"))
    asyncio.run(from_async_code())
    counter = Counter()
    print("method:", counter.count.remote(), counter.count.remote())
