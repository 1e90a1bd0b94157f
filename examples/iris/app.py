"""The iris classifier, written for today's client: `modal deploy app.py`."""

import modal

app = modal.App("iris-classifier-today")

image = (
    modal.Image.debian_slim()
    .pip_install("scikit-learn", "joblib", "numpy", "fastapi[standard]")
    .add_local_file("iris_model.pkl", remote_path="/root/iris_model.pkl")
)


@app.function(image=image)
@modal.fastapi_endpoint(method="POST")
def predict(item: dict):
    import joblib
    import numpy as np

    model = joblib.load("/root/iris_model.pkl")
    features = np.array(item["features"]).reshape(1, -1)
    prediction = model.predict(features)[0]

    class_names = ["setosa", "versicolor", "virginica"]
    return {"prediction": int(prediction), "class_name": class_names[prediction]}
