"""Functions that run by themselves: one that works, one that fails, one that takes longer than its period."""

import time

import modal

app = modal.App("scheduled")


@app.function(schedule=modal.Period(seconds=1))
def works():
    print("works", modal.current_function_call_id())


@app.function(schedule=modal.Period(seconds=2))
def fails():
    print("fails", modal.current_function_call_id())
    raise RuntimeError("as it must")


@app.function(schedule=modal.Period(seconds=1), timeout=60)
def takes_long():
    print("takes long")
    time.sleep(5)


@app.function(schedule=modal.Cron("0 9 * * *"))
def daily():
    print("daily")
