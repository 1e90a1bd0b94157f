"""Variables from the .env file beside this program: `pip install python-dotenv`, then `modal run from_dotenv.py`."""

import os

import modal

app = modal.App("secrets-from-dotenv")


@app.function(secrets=[modal.Secret.from_dotenv(__file__)])
def look():
    return os.environ["GREETING"]


@app.local_entrypoint()
def main():
    print(look.remote())
