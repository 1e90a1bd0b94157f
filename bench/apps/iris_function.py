"""What both sides of the bench do for a request: the tutorial's function, the model loaded every time as there."""

import os


def classify(item):
    import joblib
    import numpy as np

    model = joblib.load(os.environ.get("BENCH_MODEL", "/root/iris_model.pkl"))
    features = np.array(item["features"]).reshape(1, -1)
    prediction = model.predict(features)[0]

    class_names = ["setosa", "versicolor", "virginica"]
    return {"prediction": int(prediction), "class_name": class_names[prediction]}
