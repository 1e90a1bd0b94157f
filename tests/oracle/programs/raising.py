import threading

import modal

app = modal.App("raising")


class Own(Exception):
    def __init__(self, code, *, detail):
        super().__init__(code)
        self.detail = detail

    def __reduce__(self):
        return restored, (self.args[0], self.detail)


def restored(code, detail):
    return Own(code, detail=detail)


class Unready(Exception):
    """Travels, but cannot be built again from its args."""

    def __init__(self, one, two):
        super().__init__(one)


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


class Locked(Exception):
    def __reduce__(self):
        raise TypeError("stays here")


class Slotted:
    def __init__(self):
        self.lock = threading.Lock()


@app.function(max_containers=1)
def fail(how):
    if how == "own":
        raise Own(7, detail="seven")
    if how == "locked":
        raise Locked("here")
    if how == "nested group":
        try:
            raise ValueError("inner")
        except ValueError as error:
            group = ExceptionGroup("inside", [TypeError(1), error])
        raise ExceptionGroup("outside", [group, KeyError("k")]) from Own(8, detail="cause")
    if how == "base group":
        raise BaseExceptionGroup("base", [SystemExit(1)])
    if how == "chain":
        try:
            try:
                {}["a"]
            except KeyError as error:
                raise ValueError("second") from error
        except ValueError as error:
            raise RuntimeError("third") from error
    if how == "none":
        try:
            {}["a"]
        except KeyError:
            raise RuntimeError("alone") from None
    if how == "long":
        raise ValueError("x" * 100_000)
    if how == "stop":
        raise StopIteration("stopped")
    if how == "generator exit":
        next(iter(()))
    if how == "slotted":
        return Slotted()
    if how == "unready result":
        return Unready(1, 2)
    if how == "exit none":
        raise SystemExit
    if how == "unicode":
        raise ValueError("käse")
    return how


@app.function(max_containers=1)
def unready():
    raise Unready(1, 2)


@app.function(max_containers=1)
async def fail_async(how):
    if how == "exit":
        raise SystemExit(4)
    if how == "stop":
        raise StopAsyncIteration("over")
    raise Own(9, detail=how)


@app.function(max_containers=1)
def items(how):
    yield 1
    if how == "own":
        raise Own(7, detail="seven")
    yield 2


@app.local_entrypoint()
def main():
    from telling import tell, told_app

    told_app(app)
    for how in (
        "own",
        "locked",
        "nested group",
        "base group",
        "chain",
        "none",
        "long",
        "stop",
        "generator exit",
        "slotted",
        "unready result",
        "exit none",
        "unicode",
        "fine",
    ):
        tell(how, lambda: fail.remote(how))
    tell("unready", kinds)
    for how in ("exit", "stop", "own"):
        tell("async " + how, lambda: fail_async.remote(how))
    for how in ("own", "fine"):
        tell("items " + how, lambda: drained(items.remote_gen(how)))


def drained(generator):
    return sum(1 for _ in generator)


def kinds():
    """What becomes of an exception that this side cannot build: its text has the frames of the one who ran it."""
    try:
        unready.remote()
    except Exception as error:
        return type(error).__name__, type(error.__cause__).__name__, "raise Unready(1, 2)" in str(error)
