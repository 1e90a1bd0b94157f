"""One container that answers HTTP and calls: `modal deploy website.py`, then `python website.py`.

Each web method has an address of its own; all of them, and the calls, see the same `self`.
"""

import json
from urllib.request import urlopen

import modal

image = modal.Image.debian_slim().pip_install("fastapi")
app = modal.App("classes-website", image=image)


@app.cls(max_containers=1)
@modal.concurrent(max_inputs=10)
class Guestbook:
    @modal.enter()
    def open(self):
        self.names: list[str] = []

    @modal.method()
    def sign(self, name: str) -> int:
        self.names.append(name)
        return len(self.names)

    @modal.fastapi_endpoint()
    def newest(self, count: int = 1):
        return {"names": self.names[-count:]}

    @modal.asgi_app()
    def pages(self):
        from fastapi import FastAPI

        pages = FastAPI()

        @pages.get("/names/{index}")
        def name(index: int):
            return self.names[index]

        return pages

    @modal.wsgi_app()
    def plain(self):
        def application(environ, start_response):
            start_response("200 OK", [("content-type", "text/plain")])
            return [f"{len(self.names)} guests".encode()]

        return application


if __name__ == "__main__":
    guests = modal.Cls.from_name("classes-website", "Guestbook")()

    def read(method, path=""):
        with urlopen(method.get_web_url() + path) as answer:
            return answer.read().decode()

    print("call:", guests.sign.remote("Ada"), guests.sign.remote("Alan"))
    print("endpoint:", json.loads(read(guests.newest, "?count=2")))
    print("asgi:", read(guests.pages, "/names/0"))
    print("wsgi:", read(guests.plain))
