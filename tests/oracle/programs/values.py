import modal

app = modal.App("values")


@app.function()
def echo(*args, **kwargs):
    return args, kwargs


@app.function()
async def later(x):
    return x, modal.is_local()


@app.function()
def size(data):
    return data + data


@app.function()
def ids():
    return [(modal.current_input_id() or "")[:3], (modal.current_function_call_id() or "")[:3]]


@app.function()
def made(x: int = 4) -> dict:
    return {"x": [x, None, True, 1.5, "é", b"\0", (1, {2})], "none": None}


@app.function(max_containers=1)
def picky(x):
    if x == 2:
        raise KeyError(x)
    return x * x


@app.function(serialized=True)
def carried(x):
    return [x] * 2


@app.local_entrypoint()
def main():
    from telling import tell, told_app

    told_app(app)
    tell("args", lambda: echo.remote(1, "two", three=[3], four={"f": None}))
    tell("nothing", lambda: echo.remote())
    tell("async", lambda: later.remote("x"))
    tell("large", lambda: len(size.remote(b"y" * 3_000_000)))
    tell("ids", lambda: ids.remote())
    tell("made", lambda: made.remote())
    tell("map", lambda: list(picky.map([1, 3, 4])))
    tell("starmap", lambda: list(echo.starmap([(1, 2), (3, 4)], kwargs={"k": 5})))
    tell("spawn", lambda: later.spawn("y").get())
    tell("serialized", lambda: carried.remote("z"))
    tell("wrong", lambda: picky.remote(1, 2))
    tell("key", lambda: picky.remote(2))
