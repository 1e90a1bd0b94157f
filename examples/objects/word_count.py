"""Workers share a queue of jobs and a dict of results: `modal run word_count.py`.

A queue hands each item to one worker; `None` tells a worker that there is no more. Both ends see the same dict.
"""

import modal

app = modal.App("objects-word-count")

TEXTS = {
    "haiku": "an old silent pond a frog jumps into the pond splash silence again",
    "proverb": "a stitch in time saves nine",
    "twister": "she sells sea shells by the sea shore",
}


@app.function(max_containers=2)
def work(jobs: modal.Queue, counts: modal.Dict) -> int:
    done = 0
    while (name := jobs.get()) is not None:
        counts[name] = len(TEXTS[name].split())
        done += 1
    return done


@app.local_entrypoint()
def main():
    with modal.Queue.ephemeral() as jobs, modal.Dict.ephemeral() as counts:
        workers = [work.spawn(jobs, counts) for _ in range(2)]
        jobs.put_many(list(TEXTS))
        jobs.put_many([None, None])
        print("texts counted:", sum(worker.get() for worker in workers))
        for name, words in sorted(counts.items()):
            print(f"{name}: {words} words")
