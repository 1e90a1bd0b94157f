"""Where a container works: the image's WORKDIR, as build commands have it."""

import os

import modal

app = modal.App("placed")
image = modal.Image.debian_slim().workdir("/srv/placed").run_commands("pwd > where.txt")


@app.function(image=image)
def look() -> list[str]:
    with open("where.txt") as file:
        return [os.getcwd(), file.read().strip(), __file__]


@app.local_entrypoint()
def main() -> None:
    print("it works in", *look.remote())
