"""A function that runs once a day: `modal deploy scheduled_function.py`."""

import modal

app = modal.App("tutorial-schedule")


@app.function(schedule=modal.Period(hours=24))
def retrain():
    print("a day is over: time to train the model again")
