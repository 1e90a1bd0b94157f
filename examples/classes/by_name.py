"""A deployed class, used from elsewhere: `modal deploy by_name.py`, then `python by_name.py`.

Another program, or a function of another app, needs the names alone.
"""

import modal

app = modal.App("classes-by-name")


@app.cls()
class Tally:
    unit: str = modal.parameter(default="points")

    @modal.enter()
    def start(self):
        self.total = 0

    @modal.method()
    def add(self, number: int) -> str:
        self.total += number
        return f"{self.total} {self.unit}"


@app.function()
def play(rounds: int) -> list[str]:
    tally = modal.Cls.from_name("classes-by-name", "Tally")(unit="goals")  # from inside a container
    return [tally.add.remote(number) for number in range(rounds)]


if __name__ == "__main__":
    Tally = modal.Cls.from_name("classes-by-name", "Tally")
    print("from here:", Tally().add.remote(3), "-", Tally().add.remote(4))
    print("with a parameter:", Tally(unit="seconds").add.remote(10))
    print("from a container:", modal.Function.from_name("classes-by-name", "play").remote(4))
