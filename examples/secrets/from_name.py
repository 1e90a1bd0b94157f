"""A secret that lives on the server, by its name. First: `modal secret create shop-db DB_USER=anna DB_PASSWORD=...`

Then `modal run from_name.py`. A deploy, or a run, says at once when the secret or one of its keys is missing.
"""

import os

import modal

app = modal.App("secrets-from-name")
shop_db = modal.Secret.from_name("shop-db", required_keys=["DB_USER", "DB_PASSWORD"])


@app.function(secrets=[shop_db])
def connect():
    return f"{os.environ['DB_USER']} has a password of {len(os.environ['DB_PASSWORD'])} letters"


@app.local_entrypoint()
def main():
    print(connect.remote())
