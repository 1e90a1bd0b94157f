"""Many flowers in one call, and one call per batch: `modal run batch_predict.py`, beside an iris_model.pkl.

Written for clients before 1.0 (`mounts=`); with a newer client: `ionian run batch_predict.py`.
"""

import modal

app = modal.App("tutorial-batch")

image = modal.Image.debian_slim().pip_install("scikit-learn", "joblib", "numpy")


@app.function(image=image, mounts=[modal.Mount.from_local_file("iris_model.pkl", remote_path="/root/iris_model.pkl")])
def batch_predict(items: list):
    import joblib
    import numpy as np

    model = joblib.load("/root/iris_model.pkl")
    class_names = ["setosa", "versicolor", "virginica"]
    predictions = model.predict(np.array([item["features"] for item in items]))
    return [{"prediction": int(number), "class_name": class_names[number]} for number in predictions]


@app.local_entrypoint()
def main():
    flowers = [
        {"features": [5.1, 3.5, 1.4, 0.2]},
        {"features": [7.0, 3.2, 4.7, 1.4]},
        {"features": [6.3, 3.3, 6.0, 2.5]},
    ]
    print("one call:", [found["class_name"] for found in batch_predict.remote(flowers)])
    for batch in batch_predict.map([flowers[:2], flowers[2:]]):
        print("a batch:", [found["class_name"] for found in batch])
