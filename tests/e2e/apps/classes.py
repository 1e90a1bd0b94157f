"""Classes whose containers tell what happens to them."""

import os
import threading

import modal

app = modal.App("e2e-classes", image=modal.Image.debian_slim().pip_install("fastapi"))
WORD = "one"


def place() -> str:
    return os.environ.get("MODAL_TASK_ID") or os.environ["IONIAN_CONTAINER_ID"]


@app.cls(scaledown_window=600)
class Kept:
    who: str = modal.parameter()
    times: int = modal.parameter(default=1)

    @modal.method()
    def where(self) -> list[str]:
        return [place(), self.who * self.times, WORD]


@app.cls(scaledown_window=2)
class Telling:
    who: str = modal.parameter(default="nobody")

    @modal.enter()
    def first(self):
        print("enter one", self.who, flush=True)

    @modal.enter()
    async def second(self):
        print("enter two", self.who, flush=True)

    @modal.method()
    def work(self) -> str:
        print("work", self.who, flush=True)
        return self.who

    @modal.exit()
    def last(self):
        print("exit", self.who, flush=True)


class _Meeting:
    """Answers what it saw: how many are inside at once, after a moment in which another may come in."""

    @modal.enter()
    def open(self):
        self.inside = 0
        self.both = threading.Event()

    def meet(self, wait_s: float) -> list[object]:
        self.inside += 1
        if self.inside > 1:
            self.both.set()
        self.both.wait(wait_s)
        seen = self.inside
        self.inside -= 1
        return [place(), seen]

    @modal.method()
    def call(self, wait_s: float):
        return self.meet(wait_s)

    @modal.fastapi_endpoint()
    def page(self, wait_s: float = 0.0):
        return self.meet(wait_s)


@app.cls(max_containers=1)
class Alone(_Meeting):
    pass


@app.cls(max_containers=1)
@modal.concurrent(max_inputs=2)
class Together(_Meeting):
    pass
