import os
import signal

import modal

app = modal.App("ending")


@app.function(retries=0)
def ends(how):
    print("ending by", how, flush=True)
    if how == "exit":
        os._exit(5)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return how


@app.local_entrypoint()
def main():
    from telling import tell, told_app

    told_app(app)
    for how in ("exit", "kill", "return"):
        tell(how, lambda: ends.remote(how))
