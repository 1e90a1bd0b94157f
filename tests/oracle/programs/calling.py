import modal
from telling import tell, told_app

app = modal.App("calling")


@app.function()
def square(x):
    return x * x


@app.function()
def count(n):
    yield from range(n)


@app.function()
def size(data):
    return len(data)


@app.function()
def factorial(n):
    return 1 if n <= 1 else n * factorial.remote(n - 1)


@app.function()
def fail(depth):
    if depth:
        return fail.remote(depth - 1)
    raise ValueError("at the bottom")


@app.function()
async def late(x):
    return await square.remote.aio(x), [found async for found in square.map.aio([1, 2])]


@app.function()
def given(function, x):
    return function.remote(x)


@app.cls()
class Box:
    @modal.method()
    def add(self, a, b):
        return a + b

    @modal.method()
    def twice(self, a):
        return self.add.remote(a, a)


@app.function()
def forms():
    call = square.spawn(5)
    return (
        square.remote(3),
        list(square.map([1, 2])),
        list(count.remote_gen(3)),
        Box().twice.remote(2),
        call.get(),
        modal.functions.FunctionCall.from_id(call.object_id).get(),
        size.remote(bytes(5 * 1024 * 1024)),
        modal.current_input_id() is not None,
    )


@app.function()
def tree():
    call = factorial.spawn(3)
    call.get()
    return [shape(node) for node in call.get_call_graph()]


def shape(node):
    return node.function_name, node.module_name, node.status.name, [shape(child) for child in node.children]


@app.local_entrypoint()
def main():
    told_app(app)
    tell("forms", forms.remote)
    tell("factorial", lambda: factorial.remote(4))
    tell("late", lambda: late.remote(3))
    tell("handle", lambda: given.remote(square, 7))
    tell("error", lambda: fail.remote(2))
    tell("tree", tree.remote)
