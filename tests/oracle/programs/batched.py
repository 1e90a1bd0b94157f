import modal

app = modal.App("batched")


@app.function(max_containers=1)
@modal.batched(max_batch_size=4, wait_ms=2000)
def add(xs, ys):
    return [x + y for x, y in zip(xs, ys, strict=True)]


@app.function(max_containers=1)
@modal.batched(max_batch_size=3, wait_ms=2000)
async def together(xs):
    return [len(xs) for _ in xs]


@app.function(max_containers=1)
@modal.batched(max_batch_size=2, wait_ms=100)
def odd(kinds):
    if kinds[0] == "raise":
        raise ValueError("of the batch")
    return tuple(kinds) if kinds[0] == "tuple" else kinds[1:]


@app.cls(max_containers=1)
class Scale:
    @modal.enter()
    def begin(self):
        self.factor = 3

    @modal.batched(max_batch_size=4, wait_ms=100)
    def times(self, xs):
        return [x * self.factor for x in xs]


@app.local_entrypoint()
def main():
    from telling import tell, told_app

    told_app(app)
    tell("add", lambda: list(add.starmap([(n, 10 * n) for n in range(8)])))
    tell("full", lambda: list(together.map(range(3))))
    for kind in ("raise", "tuple", "short"):
        tell(kind, lambda: odd.remote(kind))
    tell("too many", lambda: odd.remote(1, 2))
    tell("method", lambda: list(Scale().times.map(range(4))))
