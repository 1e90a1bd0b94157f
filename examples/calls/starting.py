"""How containers start: `modal run starting.py`. For clients from 1.2 on.

`startup_timeout` is for imports and `@modal.enter()`; `timeout` then counts for each call alone.
"""

import os
import time

import modal

app = modal.App("calls-starting")
served = 0


@app.cls(startup_timeout=60, timeout=2)
class Slow:
    @modal.enter()
    def load(self):
        time.sleep(3)  # longer than the timeout of a call, and allowed

    @modal.method()
    def name(self) -> str:
        return "ready"


@app.cls(startup_timeout=1)
class Stuck:
    @modal.enter()
    def load(self):
        time.sleep(600)

    @modal.method()
    def name(self) -> str:
        return "never"


@app.cls()
class Broken:
    @modal.enter()
    def load(self):
        raise LookupError("no model file")

    @modal.method()
    def name(self) -> str:
        return "never"


@app.function(single_use_containers=True)
def once() -> tuple[int, bool]:
    global served
    served += 1
    return served, os.path.exists("/tmp/left-behind") or bool(open("/tmp/left-behind", "w").close())


@app.local_entrypoint()
def main():
    print("startup_timeout=60:", Slow().name.remote())
    try:
        Stuck().name.remote()
    except modal.Error as error:
        print("startup_timeout=1:", type(error).__name__)
    try:
        Broken().name.remote()
    except LookupError as error:
        print("enter failed:", error)
    print("single_use_containers:", [once.remote() for _ in range(2)])
