import modal

app = modal.App("generators")


@app.function()
def counting(n):
    for number in range(n):
        print("giving", number)
        yield number


@app.function()
async def counting_async(n):
    for number in range(n):
        yield {"number": number}


@app.function()
def breaking(n):
    yield from range(n)
    raise ValueError(f"broke after {n}")


@app.function()
async def breaking_async(n):
    yield "first"
    raise LookupError("async broke")


@app.function()
def heavy(n):
    for number in range(n):
        yield bytes([number]) * 400_000


def all_of(generator, seen):
    for item in generator:
        seen.append(item)
    return seen


@app.local_entrypoint()
def main():
    from telling import tell, told_app

    told_app(app)
    for name, n in (("none", 0), ("few", 4), ("many", 300)):
        tell(name, lambda: list(counting.remote_gen(n)))
    tell("async", lambda: list(counting_async.remote_gen(3)))
    for function in (breaking, breaking_async):
        seen = []
        tell("breaking", lambda: all_of(function.remote_gen(2), seen))
        # The client raises as soon as it hears of the failure: how many items it has by then is chance.
        tell("seen", lambda: seen == [0, 1][: len(seen)] or seen == ["first"])
    tell("heavy", lambda: [(item[0], len(item)) for item in heavy.remote_gen(8)])
