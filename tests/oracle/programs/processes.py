import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import modal

app = modal.App("processes")


def square(number):
    return number * number


def sleeps():
    time.sleep(600)


@app.function(max_containers=1)
def do(what):
    if what == "fork":
        child = os.fork()
        if not child:
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if what in ("fork pool", "spawn pool"):
        with multiprocessing.get_context(what.split()[0]).Pool(2) as pool:
            return pool.map(square, range(5))
    if what == "terminate":
        process = multiprocessing.get_context("fork").Process(target=sleeps)
        process.start()
        process.terminate()
        process.join(30)
        return process.exitcode
    if what == "threads":
        found = []
        threads = [threading.Thread(target=lambda n=n: found.append((n, print("thread")))) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(number for number, _ in found)
    if what == "signals":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        return "ignored"
    if what == "alarm":
        seen = []
        signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        while not seen:
            time.sleep(0.005)
        return seen == [signal.SIGALRM]
    if what == "program":
        return subprocess.run([sys.executable, "-c", "print('out'); exit(3)"]).returncode
    if what == "no streams":
        sys.stdout.close()
        sys.stderr.close()
        return "closed"
    return what


@app.function(max_containers=1)
def dies(how):
    if how == "exit":
        os._exit(5)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


@app.local_entrypoint()
def main():
    from telling import tell, told_app

    told_app(app)
    for what in ("fork", "fork pool", "spawn pool", "terminate", "threads", "alarm", "program", "signals", "still"):
        tell(what, lambda: do.remote(what))
    tell("no streams", lambda: do.remote("no streams"))
    tell("last", lambda: do.remote("last"))
