"""Start calls now and ask for their results later: `modal run spawning.py`.

A spawned call lives on the server: its id is all it takes to ask for the result, from any process, for seven days.
"""

import time

import modal

app = modal.App("calls-spawning")


@app.function()
def square(x: int) -> int:
    return x * x


@app.function()
def slow_square(x: int, seconds: float) -> int:
    time.sleep(seconds)
    return square.remote(x)


@app.function()
def fail(why: str):
    raise ValueError(why)


def shape(node: modal.call_graph.InputInfo) -> str:
    children = ", ".join(shape(child) for child in node.children)
    return f"{node.function_name} {node.status.name}" + (f" ({children})" if children else "")


@app.local_entrypoint()
def main():
    call = slow_square.spawn(3, 2)
    try:
        call.get(timeout=0)  # 0 looks, and does not wait
    except TimeoutError:
        print("timeout=0: not yet")
    print("get:", call.get())
    print("get again:", call.get(), call.get(timeout=0))
    print("from_id:", modal.FunctionCall.from_id(call.object_id).get())
    print("call graph:", *[shape(node) for node in call.get_call_graph()])

    calls = [square.spawn(x) for x in range(4)]
    print("gather:", modal.FunctionCall.gather(*calls))
    try:
        modal.FunctionCall.gather(square.spawn(5), fail.spawn("one of them failed"))
    except ValueError as error:
        print("gather with a failure:", error)

    call = slow_square.spawn(4, 600)
    call.cancel()
    try:
        call.get()
    except modal.Error as error:
        print("cancelled:", type(error).__name__)
