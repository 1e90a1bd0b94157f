"""Start many inputs at once and leave: `modal run --detach spawn_many.py`. For clients from 1.2 on.

The inputs run on the server, whether or not anybody waits; the detached app ends when the last of them has.
"""

import modal

app = modal.App("calls-spawn-many")


@app.function(max_containers=2)
def square(x: int) -> int:
    return x * x


@app.function(max_containers=1)
def note(line: str):
    print("noted", line)


@app.local_entrypoint()
def main():
    call = square.experimental_spawn_map(range(100))
    print("inputs:", call.num_inputs())
    print("one of them:", call.get(index=7))
    print("all of them:", sum(call.iter()))
    print("the last ten:", list(call.iter(start=90, end=100)))
    note.spawn_map(["one", "two", "three"])  # nothing to wait for: see `modal app logs`
    print("spawn_map: accepted")
