import modal

app = modal.App("serialized")


def made(offset):
    def add(number):
        return number + offset

    return add


def counted(start):
    def count(n):
        for number in range(n):
            yield start + number

    return count


def slowly(start):
    async def count(n):
        return start + n

    return count


def failing(text):
    def fail():
        raise ValueError(text)

    return fail


add = app.function(serialized=True, name="add")(made(40))
count = app.function(serialized=True, name="count")(counted(10))
wait = app.function(serialized=True, name="wait")(slowly(20))
fail = app.function(serialized=True, name="fail")(failing("from afar"))


@app.cls(serialized=True)
class Counter:
    start: int = modal.parameter(default=5)

    @modal.enter()
    def begin(self):
        print("enter")
        self.value = self.start

    @modal.method()
    def add(self, number):
        self.value += number
        return self.value

    @modal.method()
    def each(self, n):
        for number in range(n):
            yield self.value + number


@app.local_entrypoint()
def main():
    from telling import tell, told_app

    told_app(app)
    tell("function", lambda: add.remote(2))
    tell("generator", lambda: list(count.remote_gen(3)))
    tell("async", lambda: wait.remote(3))
    tell("failure", lambda: fail.remote())
    counter = Counter()
    tell("method", lambda: counter.add.remote(3))
    tell("method generator", lambda: list(counter.each.remote_gen(2)))
    other = Counter(start=100)
    tell("parameter", lambda: other.add.remote(1))
