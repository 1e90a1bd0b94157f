"""Variables that come along with the program, from a dict and from the shell. Of two with one name, the later wins.

`REGION=north modal run from_here.py`
"""

import os

import modal

app = modal.App("secrets-from-here")


@app.function(
    secrets=[
        modal.Secret.from_dict({"REGION": "nowhere", "COLOUR": "blue", "LEFT_OUT": None}),
        modal.Secret.from_local_environ(["REGION"]),
    ]
)
def look():
    return {name: os.environ.get(name) for name in ("REGION", "COLOUR", "LEFT_OUT")}


@app.local_entrypoint()
def main():
    print(look.remote())
