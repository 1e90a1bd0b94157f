import sys

import modal

app = modal.App("web")
image = modal.Image.debian_slim().pip_install("fastapi")


@app.function(image=image)
@modal.fastapi_endpoint()
def square(x: int = 3):
    print("squaring", x)
    return {"square": x * x}


@app.function(image=image)
@modal.fastapi_endpoint(method="POST")
async def judge(item: dict):
    from fastapi import HTTPException
    from fastapi.responses import PlainTextResponse, StreamingResponse

    print("judging", item, file=sys.stderr)
    kind = item["kind"]
    if kind == "teapot":
        raise HTTPException(418, "short and stout", headers={"x-pot": "tea"})
    if kind == "broken":
        raise ValueError("broken on purpose")
    if kind == "stream":

        async def parts():
            for number in range(5):
                yield f"part {number}\n" * 100

        return StreamingResponse(parts(), media_type="text/x-parts", status_code=201)
    return PlainTextResponse(str(sorted(item)), headers={"set-cookie": "a=b"})


@app.function()
@modal.asgi_app()
def plain():
    print("making the app")
    started = []

    async def serve(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                started.append(message["type"])
                print("lifespan", message["type"])
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        size, message = 0, {"more_body": True}
        while message["more_body"]:
            message = await receive()
            size += len(message["body"])
        if scope["path"] == "/silent":
            return
        if scope["path"] == "/half":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise RuntimeError("broke in the middle")
        body = repr((scope["method"], scope["path"], scope["query_string"], size, started)).encode()
        if scope["path"] == "/large":
            body = b"0123456789" * 300_000
        headers = [(b"x-twice", b"1"), (b"x-twice", b"2"), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return serve


@app.function()
@modal.wsgi_app()
def old():
    def serve(environ, start_response):
        if environ["PATH_INFO"] == "/fail":
            raise KeyError("wsgi")
        body = environ["wsgi.input"].read()
        start_response("203 Fine", [("Content-Type", "text/plain"), ("X-Method", environ["REQUEST_METHOD"])])
        return [b"path ", environ["PATH_INFO"].encode(), b" query ", environ["QUERY_STRING"].encode(), b" body ", body]

    return serve
