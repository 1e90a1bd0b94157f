"""Functions that call functions, from inside their containers: `modal run inside.py`.

A container's client needs no set-up: it has a token of its own, for calls and look-ups in its environment.
"""

import modal

app = modal.App("calls-inside")


@app.function()
def square(x: int) -> int:
    return x * x


@app.function()
def factorial(n: int) -> int:
    return 1 if n < 2 else n * factorial.remote(n - 1)


@app.function()
def tree_sum(numbers: list[int]) -> int:
    if len(numbers) <= 2:
        return sum(numbers)
    half = len(numbers) // 2
    return sum(tree_sum.map([numbers[:half], numbers[half:]]))


@app.function()
def count(n: int):
    yield from range(n)


@app.function()
def every_way(n: int) -> list:
    call = square.spawn(n)
    return [square.remote(n), square.local(n), list(square.map(range(n))), list(count.remote_gen(n)), call.get()]


@app.function()
async def every_way_async(n: int) -> list:
    return [await square.remote.aio(n), [x async for x in square.map.aio(range(n))]]


@app.function()
def apply(function: modal.Function, x: int) -> int:
    return function.remote(x)


@app.function()
def ask_other_app(app_name: str, x: int) -> int:
    return modal.Function.from_name(app_name, "double").remote(x)


@app.function()
def passes_it_on(x: int) -> int:
    return divide.remote(x)


@app.function()
def divide(x: int) -> float:
    return 1 / x


@app.local_entrypoint()
def main(other_app: str = ""):
    print("recursion:", factorial.remote(4))
    print("a tree of maps:", tree_sum.remote([1, 2, 3, 4]))
    print("every way:", every_way.remote(3))
    print("every way, async:", every_way_async.remote(3))
    print("a function as an argument:", apply.remote(square, 6))
    try:
        passes_it_on.remote(0)
    except ZeroDivisionError as error:
        print("through two containers:", error)
    if other_app:  # deployed before, see by_name.py
        print("another app:", ask_other_app.remote(other_app, 21))
