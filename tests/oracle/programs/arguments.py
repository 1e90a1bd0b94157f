import modal

app = modal.App("arguments")
HERE = modal.is_local()

if HERE:

    class OnlyHere:
        pass


if not HERE:

    class OnlyThere:
        pass


class Stubborn:
    def __init__(self, where):
        self.where = where

    def __setstate__(self, state):
        if state["where"] == ("there" if modal.is_local() else "here"):
            raise ValueError("cannot be read " + ("here" if modal.is_local() else "there"))
        vars(self).update(state)


@app.function(max_containers=1)
def echo(value=None, *values, key=None):
    return value


@app.function(max_containers=1)
def give(what):
    return OnlyThere() if what == "class" else Stubborn("there")


@app.function(max_containers=1)
def size(data):
    return data, len(data)


@app.local_entrypoint()
def main():
    from telling import tell, told_app

    told_app(app)
    tell("class", lambda: echo.remote(OnlyHere()))
    tell("state", lambda: echo.remote(Stubborn("here")))
    tell("too many", lambda: size.remote(1, 2))
    tell("unknown", lambda: size.remote(b"", other=1))
    tell("good", lambda: echo.remote(1, 2, key=3))
    tell("result class", lambda: give.remote("class"))
    tell("result state", lambda: give.remote("state"))
    tell("large", lambda: size.remote(b"x" * 9_000_000)[1])
    tell("again", lambda: echo.remote("again"))
