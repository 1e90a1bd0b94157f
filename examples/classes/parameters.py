"""A class with parameters: each set of values has containers of its own: `modal run parameters.py`."""

import modal

app = modal.App("classes-parameters")


@app.cls()
class Greeter:
    language: str = modal.parameter()
    excited: bool = modal.parameter(default=False)

    @modal.enter()
    def learn(self):  # the parameters are there before the first hook
        self.word = {"en": "Hello", "fr": "Bonjour", "ja": "Konnichiwa"}[self.language]
        self.greeted = 0

    @modal.method()
    def greet(self, name: str) -> str:
        self.greeted += 1
        return f"{self.word}, {name}{'!' if self.excited else '.'} (number {self.greeted})"


@app.local_entrypoint()
def main():
    english, french = Greeter(language="en"), Greeter(language="fr", excited=True)
    print(english.greet.remote("Ada"))
    print(french.greet.remote("Alan"))
    print(Greeter(excited=False, language="en").greet.remote("Grace"))  # the same values: the same container
    try:
        Greeter(language=7).greet.remote("nobody")
    except TypeError as error:
        print("refused:", type(error).__name__)
