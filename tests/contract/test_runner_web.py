"""Web functions in a real runner process: ASGI, WSGI and FastAPI, over the gateway's frames."""

from __future__ import annotations

import json
import sys

import pytest

from ionian.runner import frames
from tests.contract.containers import (
    WITHOUT_STREAMS,
    Start,
    request,
    response,
)

RAW_ASGI = """
    import asyncio, os

    state = {}

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                state["now"] = message["type"]
                print(message["type"])
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"] == "/slow":
            await asyncio.sleep(float(body))
        text = " ".join([scope["method"], scope["path"], state["now"], body.decode()])
        headers = [(b"x-task", os.environ["MODAL_TASK_ID"].encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    def f():
        return app

    def wsgi():
        def application(environ, start_response):
            start_response("200 OK", [("content-type", "text/plain")])
            return [environ["PATH_INFO"].encode(), b" ", environ["wsgi.input"].read()]
        return application
"""


def test_asgi_app(start: Start, python: str) -> None:
    container = start(python, RAW_ASGI, web={"kind": "asgi"})
    control = container.control()
    header, _ = control.take(frames.READY)
    assert (header["web"], header["web_active"], header["inputs"]) == (True, 0, [])
    web = container.connect(frames.WEB_PREFACE)
    for number in range(3):
        request(web, "POST", "/hello", b"%d" % number)
        status, headers, body = response(web)
        assert (status, headers[b"x-task"]) == (200, b"ta-123")
        assert body == b"POST /hello lifespan.startup %d" % number
    control.send(frames.STOP, {"grace_s": 5})
    assert container.exit() == 0
    assert container.out.read_text().split() == ["lifespan.startup", "lifespan.shutdown"]


def test_wsgi_app(start: Start) -> None:
    container = start(sys.executable, RAW_ASGI, function_name="wsgi", web={"kind": "wsgi"})
    container.ready()
    web = container.connect(frames.WEB_PREFACE)
    request(web, "POST", "/hello", b"body")
    status, headers, body = response(web)
    assert (status, headers[b"content-type"], body) == (200, b"text/plain", b"/hello body")


@pytest.mark.parametrize("how", WITHOUT_STREAMS)
def test_a_failed_request_of_a_program_without_streams_is_done_all_the_same(start: Start, how: str) -> None:
    module = f"""
        import os, sys
        {how}

        async def app(scope, receive, send):
            if scope["path"] == "/fails":
                raise ValueError("said in silence")
            await send({{"type": "http.response.start", "status": 200, "headers": []}})
            await send({{"type": "http.response.body", "body": b"fine"}})

        def f():
            return app
    """
    web = start(sys.executable, module, web={"kind": "asgi"}).connect(frames.WEB_PREFACE)
    request(web, "GET", "/fails")
    assert response(web)[0] == 500
    request(web, "GET", "/")
    assert response(web)[0] == 200


def test_web_request_outlives_its_server(start: Start) -> None:
    container = start(sys.executable, RAW_ASGI, web={"kind": "asgi"})
    first = container.ready()
    web = container.connect(frames.WEB_PREFACE)
    request(web, "POST", "/slow", b"0.5")
    first.close()
    second = container.control()
    header, _ = second.take(frames.READY)
    assert header["web_active"] == 1
    web.close()
    second.take(frames.FREED)


FASTAPI = """
    import modal
    app = modal.App("iris")
    image = modal.Image.debian_slim()

    @app.function(image=image)
    @modal.fastapi_endpoint(method="POST")
    def f(item: dict):
        return {"sum": sum(item["features"])}
"""


def test_missing_fastapi_is_the_clients_own_error(start: Start) -> None:
    container = start(sys.executable, FASTAPI, web={"kind": "function", "method": "POST"})
    header, _ = container.control().take(frames.FAILED)
    assert "require FastAPI to be installed in the modal.Image" in header["exception"]
    assert container.exit() == 1
    assert "require FastAPI to be installed" in container.err.read_text()


def test_fastapi_endpoint(start: Start, old_client: str) -> None:
    """The client of early 2025 depends on FastAPI itself, so its environment has it."""
    container = start(old_client, FASTAPI, web={"kind": "function", "method": "POST"})
    container.ready()
    web = container.connect(frames.WEB_PREFACE)
    for path in ("/", "/f"):
        request(web, "POST", path, b'{"features": [1, 2, 3.5]}')
        status, _, body = response(web)
        assert (status, json.loads(body)) == (200, {"sum": 6.5})
    request(web, "POST", "/", b"not json")
    assert response(web)[0] == 422
    request(web, "GET", "/", b"")
    assert response(web)[0] == 405
    request(web, "POST", "/", b'{"no": 1}')
    assert response(web)[0] == 500
    assert "KeyError: 'features'" in container.err.read_text()


OLD = """
    import modal
    app = modal.App("old")

    @app.function(keep_warm=1, mounts=[modal.Mount.from_local_file("no_such_file.pkl", remote_path="/root/x.pkl")])
    def f(x):
        return x + 1

    @app.function(mounts=[modal.Mount.from_local_file("no_such_file.pkl")])
    @modal.web_endpoint(method="POST")
    def predict(item: dict):
        return {"sum": sum(item["features"])}
"""


def test_retired_web_endpoint_in_the_container(start: Start, old_client: str) -> None:
    container = start(old_client, OLD, function_name="predict", compat=True, web={"kind": "function", "method": "POST"})
    container.ready()
    web = container.connect(frames.WEB_PREFACE)
    request(web, "POST", "/predict", b'{"features": [1, 2]}')
    status, _, body = response(web)
    assert (status, json.loads(body)) == (200, {"sum": 3})
