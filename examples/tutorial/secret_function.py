"""A function with a secret in its environment: `modal deploy secret_function.py`."""

import os

import modal

app = modal.App("tutorial-secret")


@app.function(secrets=[modal.Secret.from_name("api-keys")])
def has_key():
    return "API_KEY" in os.environ
