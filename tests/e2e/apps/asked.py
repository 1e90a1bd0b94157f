"""Scheduled functions with settings of their own, run by asking: nothing is due for years."""

import time

import modal

app = modal.App("asked")
yearly = modal.Cron("0 0 29 2 *")
tried = set()


@app.function(schedule=yearly, retries=1)
def flaky():
    call_id = modal.current_function_call_id()
    if call_id not in tried:
        tried.add(call_id)
        raise RuntimeError("the first time")
    print("the second time")


@app.function(schedule=yearly, timeout=1)
def slow():
    time.sleep(60)
