"""The FastAPI application that both sides of the web benchmark serve: the iris endpoint, with or without a model.

Without scikit-learn it classifies by the nearest mean, which costs almost nothing: the hardest case for a gateway.
"""

from __future__ import annotations

import os
from typing import Any

from fastapi import FastAPI

app = FastAPI()
NAMES = ["setosa", "versicolor", "virginica"]
MEANS = [(5.0, 3.4, 1.5, 0.2), (5.9, 2.8, 4.3, 1.3), (6.6, 3.0, 5.6, 2.0)]
MODEL = os.environ.get("BENCH_MODEL", "")  # path of a joblib file


def _load() -> Any:
    import joblib

    return joblib.load(MODEL)


loaded = _load() if MODEL else None


@app.post("/")
@app.post("/predict")
def predict(item: dict[str, Any]) -> dict[str, Any]:
    features = item["features"]
    if loaded is None:
        distances = [sum((a - b) ** 2 for a, b in zip(features, mean, strict=True)) for mean in MEANS]
        prediction = distances.index(min(distances))
    else:
        import numpy as np

        prediction = int(loaded.predict(np.array(features).reshape(1, -1))[0])
    return {"prediction": prediction, "class_name": NAMES[prediction]}
