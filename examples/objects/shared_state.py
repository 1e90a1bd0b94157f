"""A dict with a name outlives the programs that use it: `modal run shared_state.py`, once and once more.

`modal dict items objects-visits` shows it, `modal dict delete objects-visits` ends it.
"""

import modal

app = modal.App("objects-shared-state")
visits = modal.Dict.from_name("objects-visits", create_if_missing=True)


@app.function()
def visit(name: str) -> int:
    visits[name] = visits.get(name, 0) + 1
    return visits[name]


@app.function()
def claim(name: str, by: str) -> bool:
    return visits.put(f"claim of {name}", by, skip_if_exists=True)  # of all who try, one succeeds


@app.local_entrypoint()
def main():
    print("visit of ann:", visit.remote("ann"))
    won = list(claim.starmap([("the prize", f"caller {number}") for number in range(5)]))
    print("claims that succeeded:", sum(won))
    print("the prize is with a caller:", visits["claim of the prize"].startswith("caller"))
    print("popped:", visits.pop("claim of the prize").split()[0])
