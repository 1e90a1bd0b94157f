"""What call.mjs calls: deploy this with the Python client first."""

import modal

app = modal.App("calls-javascript")


@app.function()
def square(x):
    if x < 0:
        raise ValueError(f"{x} is too small")
    return x * x


@app.cls()
class Greeter:
    @modal.enter()
    def load(self):
        self.greeting = "Hello"

    @modal.method()
    def greet(self, name):
        return f"{self.greeting}, {name}!"
