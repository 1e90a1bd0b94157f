"""What a person debugs with ``modal run -i``."""

import os
import time

import modal

app = modal.App("interactive")


@app.function()
def debug():
    x = 41
    print("a line before")
    breakpoint()
    x += 1
    print("the end:", x)


@app.function()
def ask():
    print("a line before")
    modal.interact()
    name = input("name? ")
    size = os.get_terminal_size()
    print(f"hello {name}, {size.lines} lines of {size.columns}, {os.environ['TERM']}, {os.isatty(0) and os.isatty(2)}")
    print("no newline here", end="")
    try:
        input()
    except EOFError:
        print("-> end of file")
    print("sleeping")
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        print("interrupted")


@app.function()
def run_on():
    breakpoint()
    for _ in range(6000):
        time.sleep(0.1)


@app.function(retries=3, min_containers=2)
def fail():
    breakpoint()
    raise ValueError("it went wrong")


@app.function()
def asks_to_interact():
    modal.interact()


@app.function()
def asks_for_the_debugger():
    breakpoint()


@app.function()
def where(n):
    time.sleep(0.2)
    return os.environ["MODAL_TASK_ID"]


@app.local_entrypoint()
def refused():
    for function in (asks_to_interact, asks_for_the_debugger):
        try:
            function.remote()
        except modal.exception.InvalidError as error:
            print(error)


@app.local_entrypoint()
def many():
    print("containers:", len(set(where.map(range(6)))))
