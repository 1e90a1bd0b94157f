"""A deployed function, called by its name: `modal deploy by_name.py`, then `python by_name.py`.

The second command is an ordinary program; the function and its results are on the server. `python by_name.py ID` asks
for the result of an earlier call.
"""

import sys

import modal

app = modal.App("calls-by-name")


@app.function()
def double(x: int) -> int:
    return 2 * x


def main():
    if len(sys.argv) > 1:
        print("result:", modal.FunctionCall.from_id(sys.argv[1]).get())
        return
    found = modal.Function.from_name("calls-by-name", "double")
    print("remote:", found.remote(21))
    print("map:", list(found.map(range(4))))
    print("id:", found.spawn(50).object_id)
    try:
        modal.Function.from_name("calls-by-name", "triple").remote(1)
    except modal.exception.NotFoundError:
        print("triple: not found")


if __name__ == "__main__":
    main()
