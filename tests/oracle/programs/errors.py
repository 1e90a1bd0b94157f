import sys
import threading

import modal

app = modal.App("errors")


class Own(Exception):
    def __init__(self, code, text):
        super().__init__(code, text)
        self.code = code


class Stubborn(Exception):
    def __init__(self):
        super().__init__("cannot travel")
        self.lock = threading.Lock()


class Odd(BaseException):
    pass


def deep(x):
    return {}[x]


@app.function(max_containers=1)
def fail(how):
    if how == "value":
        raise ValueError("no", 2)
    if how == "own":
        raise Own(7, "seven")
    if how == "cause":
        try:
            deep("there")
        except KeyError as error:
            raise RuntimeError("because") from error
    if how == "context":
        try:
            deep("here")
        except KeyError:
            raise RuntimeError("meanwhile")
    if how == "note":
        error = ValueError("with a note")
        error.add_note("the note")
        raise error
    if how == "stubborn":
        raise Stubborn()
    if how == "odd":
        raise Odd("base")
    if how == "exit":
        sys.exit(3)
    if how == "quit":
        sys.exit("bye")
    if how == "lock":
        return threading.Lock()
    if how == "generator":
        return (x for x in range(3))
    if how == "group":
        raise ExceptionGroup("two", [ValueError(1), TypeError(2)])
    if how == "assert":
        assert 1 == 2, "one is not two"
    return how


@app.function()
async def fail_async(how):
    if how == "value":
        raise ValueError("async no")
    return (x for x in range(3))


@app.local_entrypoint()
def main():
    from telling import tell, told_app

    told_app(app)
    for how in [
        "value",
        "own",
        "cause",
        "context",
        "note",
        "stubborn",
        "odd",
        "exit",
        "quit",
        "lock",
        "generator",
        "group",
        "assert",
        "fine",
    ]:
        tell(how, lambda: fail.remote(how))
    for how in ("value", "generator"):
        tell("async " + how, lambda: fail_async.remote(how))
    fail.remote("cause")
