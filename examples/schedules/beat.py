"""Functions that run by themselves: `modal deploy beat.py`, then `ionian schedule list`.

`modal run beat.py` calls once and fires nothing: only a deployed app has schedules.
"""

import modal

app = modal.App("example-schedules")


@app.function(schedule=modal.Period(seconds=2))
def beat():
    print("beat")


@app.function(schedule=modal.Cron("0 9 * * 1-5"))  # in UTC; newer clients take timezone="Europe/Berlin"
def report():
    print("a working day begins")


@app.local_entrypoint()
def main():
    beat.remote()
