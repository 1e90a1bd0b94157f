import modal

app = modal.App("classes")


@app.cls()
class Counter:
    @modal.enter()
    def begin(self):
        self.count = 10
        print("enter")

    @modal.enter()
    async def begin_async(self):
        self.late = 5
        print("async enter")

    @modal.method()
    def add(self, n):
        self.count += n
        return self.count

    @modal.method()
    async def late_add(self, n):
        return self.late + n

    @modal.method()
    def each(self, n):
        for number in range(n):
            yield self.count + number

    @modal.method()
    def fail(self):
        raise ArithmeticError(f"at {self.count}")

    @modal.exit()
    def end(self):
        print("exit with", self.count)


@app.cls()
class Broken:
    @modal.enter()
    def begin(self):
        raise OSError("cannot enter")

    @modal.method()
    def never(self):
        return 1


@app.cls()
class Ending:
    @modal.method()
    def fine(self):
        return "fine"

    @modal.exit()
    def end(self):
        raise OSError("cannot leave")


@app.local_entrypoint()
def main():
    from telling import tell, told_app

    told_app(app)
    counter = Counter()
    tell("add", lambda: counter.add.remote(1))
    tell("again", lambda: counter.add.remote(2))
    tell("async", lambda: counter.late_add.remote(1))
    tell("each", lambda: list(counter.each.remote_gen(3)))
    tell("fail", lambda: counter.fail.remote())
    tell("after", lambda: counter.add.remote(0))
    tell("broken", lambda: Broken().never.remote())
    tell("ending", lambda: Ending().fine.remote())
