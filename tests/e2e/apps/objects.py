"""Dicts and queues from inside containers, by name, as arguments, and of another environment."""

import modal

app = modal.App("objects-inside")


@app.function()
def every_way(name: str) -> list:
    d = modal.Dict.from_name(name, create_if_missing=True)
    q = modal.Queue.from_name(name, create_if_missing=True)
    d["a"] = 1
    d.update(b=[2], c=None)
    q.put_many([1, 2])
    q.put("p", partition="p")
    taken = [q.get(), q.get_many(5), q.get(partition="p"), q.get(block=False), q.len(total=True)]
    with modal.Dict.ephemeral() as short:
        short["x"] = "large " * 300_000
        size = len(short["x"])
    return [d["a"], d.pop("b"), "c" in d, sorted(d.keys()), d.get("none", "default"), *taken, size]


@app.function()
async def async_ways(q: modal.Queue, d: modal.Dict) -> list:
    item = await q.get.aio()
    await d.put.aio("from", item)
    return [item, await d.get.aio("from")]


@app.function()
def of_another_environment(object_id: str) -> list[str]:
    said = []
    for find in (
        lambda: modal.Dict.from_name("theirs", environment_name="dev"),
        lambda: modal.Dict.from_id(object_id),
    ):
        try:
            find().get("x")
        except modal.exception.Error as error:
            said.append(f"{type(error).__name__}: {error}")
    return said
