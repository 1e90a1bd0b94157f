"""Uses secrets in every way and tells only digests of what it sees."""

import hashlib
import json
import os

import modal

NAMED, SECOND = "marked", "marked-second"
app = modal.App("secretive")
named = modal.Secret.from_name(NAMED, required_keys=["MARK_NAMED"])
second = modal.Secret.from_name(SECOND)
given = {"MARK_DICT": os.environ.get("GIVEN_DICT"), "MARK_LATER": os.environ.get("GIVEN_LATER")}  # not in the program
here = modal.Secret.from_dict(given)
environ = modal.Secret.from_local_environ(["MARK_LOCAL"])
image = modal.Image.debian_slim()
built = image.run_commands("printf %s $MARK_NAMED$MARK_DICT | sha256sum > /root/digest", secrets=[named, here])


def seen():
    return {name: hashlib.sha256(value.encode()).hexdigest() for name, value in os.environ.items() if "MARK_" in name}


@app.function(image=image, secrets=[here, named, second, environ])
def look():
    return seen()


@app.function(image=built)
def read():
    with open("/root/digest") as file:
        return {"file": file.read().split()[0], "seen": seen()}


@app.cls(image=image, secrets=[named])
class Looker:
    @modal.enter()
    def enter(self):
        self.seen = seen()

    @modal.method()
    def look(self):
        return self.seen


@app.function(image=image, secrets=[named, here])
def fail():
    secret = os.environ["MARK_NAMED"]
    raise RuntimeError(f"about a secret of {len(secret)} letters")


@app.function(image=image, secrets=[named, here], retries=0)
def crash():
    os.abort()


@app.function(image=image, secrets=[named, here])
@modal.asgi_app()
def page():
    async def answer(scope, receive, send):
        body = json.dumps(seen()).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})

    return answer
