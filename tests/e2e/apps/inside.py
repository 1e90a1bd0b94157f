"""Functions that call others from inside their containers, in every form. Runs with every client since 0.64."""

import json

import modal

app = modal.App("inside")


@app.function()
def square(x: int) -> int:
    return x * x


@app.function()
def count(n: int):
    yield from range(n)


@app.function()
def size(data: bytes) -> int:
    return len(data)


@app.function()
def fail() -> None:
    raise ValueError("from below")


@app.function()
def factorial(n: int) -> int:
    return 1 if n <= 1 else n * factorial.remote(n - 1)


@app.function()
async def square_and_one(x: int) -> int:
    return await square.remote.aio(x) + 1


@app.function()
async def squares(n: int) -> list:
    return [found async for found in square.map.aio(range(n))]


@app.cls()
class Adder:
    @modal.method()
    def add(self, a: int, b: int) -> int:
        return a + b

    @modal.method()
    def twice(self, a: int) -> int:
        return self.add.remote(a, a)


@app.function()
def given(function, x: int) -> int:
    return function.remote(x)


@app.function()
def forms() -> dict:
    told = {
        "remote": square.remote(3),
        "local": square.local(3),
        "map": list(square.map(range(4))),
        "starmap": list(square.starmap([(4,), (5,)])),
        "generator": list(count.remote_gen(3)),
        "class": Adder().add.remote(1, 2),
        "class from class": Adder().twice.remote(4),
        "large": size.remote(bytes(5 * 1024 * 1024)),
        "async": square_and_one.remote(5),
        "async map": squares.remote(3),
        "is_local": modal.is_local(),
    }
    call = square.spawn(6)
    told["spawn"] = call.get()
    told["from_id"] = modal.functions.FunctionCall.from_id(call.object_id).get()
    try:
        fail.remote()
    except ValueError as error:
        told["error"] = str(error)
    return told


@app.function()
def leave() -> str:
    """Spawn and end at once: what was spawned goes on."""
    return square.spawn(9).object_id


@app.function()
def pass_on(x: int) -> int:
    return given.remote(square, x)


@app.function()
def graph() -> list:
    """The tree of a call from inside it, as names."""
    call = leave_tree.spawn()
    call.get()
    return [names(node) for node in call.get_call_graph()]


@app.function()
def leave_tree() -> int:
    return sum(square_and_one.map([1, 2]))


def names(node) -> list:
    children = sorted(names(child) for child in node.children)
    return [node.function_name.rsplit(".")[-1], node.status.name, *children]


@app.local_entrypoint()
def main(what: str = "forms") -> None:
    if what == "forms":
        said = forms.remote()
        said["factorial"] = factorial.remote(4)
        said["handle"] = pass_on.remote(7)
        said["spawned"] = modal.functions.FunctionCall.from_id(leave.remote()).get()
    else:
        said = app.registered_functions[what].remote() if what != "graph" else graph.remote()
    print("told " + json.dumps(said))
