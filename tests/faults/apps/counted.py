"""An app whose version is known by its answer: VERSION is replaced by a number before each deploy."""

import modal

app = modal.App("counted")
image = modal.Image.debian_slim()
VERSION = 0


@app.function(image=image, scaledown_window=20)
@modal.asgi_app()
def answer():
    async def serve(scope, receive, send):
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": str(VERSION).encode()})

    return serve


@app.function(image=image, max_containers=1)
def square(number: int) -> int:
    return number * number
