"""A secret for the steps of an image alone: `modal run in_build.py`. What runs in the image later does not have it."""

import os

import modal

app = modal.App("secrets-in-build")
access = modal.Secret.from_dict({"DOWNLOAD_TOKEN": "t0ken-of-the-build"})
image = modal.Image.debian_slim().run_commands(
    'test -n "$DOWNLOAD_TOKEN"', "echo ${#DOWNLOAD_TOKEN} > /root/length-of-token", secrets=[access]
)


@app.function(image=image)
def look():
    with open("/root/length-of-token") as file:
        return int(file.read()), "DOWNLOAD_TOKEN" in os.environ


@app.local_entrypoint()
def main():
    length, there = look.remote()
    print(f"the build had a token of {length} letters; the function has {'it too' if there else 'none'}")
