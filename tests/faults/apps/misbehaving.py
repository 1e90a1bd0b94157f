"""Functions that do what they should not."""

import os
import resource
import signal
import subprocess
import sys
import time

import modal

app = modal.App("misbehaving")


@app.function(max_containers=1)
def prints(lines: int, size: int) -> int:
    for number in range(lines):
        print(f"{number:09d}" + "x" * (size - 10))
    return lines


@app.function(max_containers=1)
def leaves_children(seconds: int) -> int:
    subprocess.Popen(["sleep", str(seconds)])
    if os.fork() == 0:  # a daemon: no parent, a session of its own, deaf
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.execvp("sh", ["sh", "-c", f"trap '' TERM HUP; sleep {seconds}; :"])
        os._exit(0)
    os.wait()
    return os.getpid()


@app.function(max_containers=1)
def ignores_sigterm(seconds: float) -> str:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(seconds)
    return "here still"


@app.function(max_containers=1)
def exits(code: int) -> int:
    if code:
        print("about to exit", flush=True)
        os._exit(code)
    return code


@app.function(max_containers=1)
def dies(number: int) -> int:
    if number:
        os.kill(os.getpid(), number)
    return number


async def _answer(send, status, text):
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})


@app.function(max_containers=1, timeout=300)
@modal.asgi_app()
def body():
    async def serve(scope, receive, send):
        if scope["path"] == "/ignored":
            await _answer(send, 200, "not read")
            return
        if scope["path"] == "/exits":
            os._exit(4)
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False) and message["type"] == "http.request"
        await _answer(send, 200, f"{size} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}")

    return serve


if __name__ == "__main__":
    sys.exit("an app, not a program")
