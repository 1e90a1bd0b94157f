"""One call for many inputs, in parallel: `modal run mapping.py`.

Ionian starts as many containers as there is work for, up to `max_containers`.
"""

import asyncio
import time

import modal

app = modal.App("calls-mapping")


@app.function(max_containers=2)
def square(x: int) -> int:
    return x * x


@app.function(max_containers=2)
def weigh(name: str, grams: int, unit: str = "g") -> str:
    return f"{name} {grams} {unit}"


@app.function(max_containers=2)
def pick(x: int) -> int:
    if x % 3 == 0:
        raise ValueError(f"{x} is a multiple of three")
    return x


@app.function(max_containers=2)
def wait(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


async def from_async_code():
    print("map.aio:", [value async for value in square.map.aio(range(3))])


@app.local_entrypoint()
def main():
    print("map:", list(square.map(range(6))))
    print("many:", sum(square.map(range(300))))
    print("two iterators:", list(weigh.map(["apple", "pear"], [150, 180])))
    print("starmap:", list(weigh.starmap([("plum", 60), ("fig", 40)], kwargs={"unit": "grams"})))
    weigh.for_each(["melon"], [1200])
    print("for_each: done")
    print("as they come:", sorted(square.map(range(6), order_outputs=False)))
    print("in order:", list(wait.map([2, 0])), "first done first:", list(wait.map([2, 0], order_outputs=False)))

    try:
        list(pick.map(range(1, 4)))
    except ValueError as error:
        print("raises:", error)
    results = pick.map(range(1, 7), return_exceptions=True)
    print("return_exceptions:", ["failed" if isinstance(r, Exception) else r for r in results])
    pick.for_each(range(6), ignore_exceptions=True)
    print("ignore_exceptions: done")
    asyncio.run(from_async_code())
