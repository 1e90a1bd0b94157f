"""What happens once for each container, and what once for each call: `modal run lifecycle.py`.

`@modal.enter()` runs before the first call, in order of definition, base classes first; `@modal.exit()` after the last.
"""

import modal

app = modal.App("classes-lifecycle")


class Counting:
    @modal.enter()
    def begin(self):
        self.steps = ["begin"]

    @modal.method()
    def history(self) -> list[str]:  # inherited like any other method
        return self.steps


@app.cls(max_containers=1)
class Diary(Counting):
    @modal.enter()
    async def load(self):  # hooks may be async
        self.steps.append("load")

    @modal.method()
    def write(self, line: str) -> int:
        self.steps.append(line)
        return len(self.steps)

    @modal.method()
    async def read(self):  # generators and async methods: all in the same container
        for step in self.steps:
            yield step

    @modal.exit()
    def close(self):
        print("closed after", len(self.steps), "steps")  # in the log, once the container ends


@app.cls()
class Broken:
    @modal.enter()
    def load(self):
        raise FileNotFoundError("no weights")

    @modal.method()
    def predict(self): ...


@app.local_entrypoint()
def main():
    diary = Diary()
    print("written:", diary.write.remote("hello"), diary.write.remote("again"))
    print("read:", list(diary.read.remote_gen()))
    print("inherited:", diary.history.remote())
    try:
        Broken().predict.remote()
    except FileNotFoundError as error:
        print("a failed start reaches the caller:", error)
