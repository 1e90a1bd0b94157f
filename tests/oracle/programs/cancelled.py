import asyncio
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import modal

app = modal.App("cancelled")
calls = 0


@app.function(max_containers=1)
def waits(url):
    global calls
    calls += 1
    if not url:
        return calls
    try:
        urllib.request.urlopen(url).read()
        for _ in range(1200):
            time.sleep(0.05)
    except BaseException as error:
        print("saw", type(error).__name__)
        raise
    finally:
        print("cleaned up")


@app.function(max_containers=1)
async def waits_async(url):
    global calls
    calls += 1
    if not url:
        return calls
    try:
        urllib.request.urlopen(url).read()
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print("saw a cancellation")
        raise


@app.local_entrypoint()
def main():
    from telling import tell, told_app

    told_app(app)
    started = threading.Event()

    class Started(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()
            started.set()

        def log_message(self, format, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Started) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,)).start()
        for function in (waits, waits_async):
            started.clear()
            call = function.spawn(f"http://127.0.0.1:{http.server_port}/")
            assert started.wait(60)
            call.cancel()
            tell("cancelled", lambda: call.get())
            tell("calls of the same container", lambda: function.remote(""))
        http.shutdown()
