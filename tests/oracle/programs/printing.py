import logging
import subprocess
import sys
import warnings

import modal

app = modal.App("printing")
print("imported", modal.is_local())


@app.function()
def prints(n):
    for number in range(n):
        print(f"line {number} é", file=sys.stderr if number % 3 else sys.stdout)
    print("no newline", end="")
    print(" then one")
    sys.stdout.write("written\n")
    logging.getLogger("mine").warning("logged %s", n)
    warnings.warn("a warning")
    print("tab\there", "\x1b[1mbold\x1b[0m")
    print("x" * 3000)
    print("lone \udc80 surrogate")
    subprocess.run(["echo", "from a child"], check=True)
    return n


@app.function()
async def prints_async():
    print("async out")
    print("async err", file=sys.stderr)


@app.local_entrypoint()
def main():
    from telling import tell, told_app

    told_app(app)
    tell("printed", lambda: prints.remote(30))
    tell("again", lambda: prints.remote(2))
    tell("async", lambda: prints_async.remote())
