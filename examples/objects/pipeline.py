"""Partitions of one queue as channels between functions: `modal run pipeline.py`.

Each stage takes from one partition and puts into the next, while the others run. `iterate` looks without taking.
"""

import queue

import modal

app = modal.App("objects-pipeline")
END = "end"


@app.function()
def stage(channels: modal.Queue, source: str, target: str, factor: int):
    while (number := channels.get(partition=source)) != END:
        channels.put(number * factor, partition=target, partition_ttl=600)
    channels.put(END, partition=target)


@app.local_entrypoint()
def main():
    with modal.Queue.ephemeral() as channels:
        stages = [stage.spawn(channels, "raw", "doubled", 2), stage.spawn(channels, "doubled", "done", 10)]
        channels.put_many([1, 2, 3], partition="raw")
        channels.put(END, partition="raw")
        for running in stages:
            running.get()
        print("left for all to see:", list(channels.iterate(partition="done")))
        print("taken:", channels.get_many(3, partition="done"))
        print("still there:", channels.len(partition="done"), "of", channels.len(total=True))
        try:
            channels.get(timeout=0.1, partition="raw")
        except queue.Empty:
            print("nothing more comes")
