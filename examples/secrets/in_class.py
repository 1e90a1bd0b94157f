"""One secret for all methods of a class: `modal secret create api-keys API_KEY=...`, then `modal run in_class.py`."""

import os

import modal

app = modal.App("secrets-in-class")


@app.cls(secrets=[modal.Secret.from_name("api-keys")])
class Caller:
    @modal.enter()
    def sign_in(self):
        self.key = os.environ["API_KEY"]

    @modal.method()
    def call(self, path):
        return f"GET {path} with a key of {len(self.key)} letters"


@app.local_entrypoint()
def main():
    print(Caller().call.remote("/prices"))
