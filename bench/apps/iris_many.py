"""The iris endpoint with many inputs in one container, as bare uvicorn serves it."""

import modal
from iris_function import classify

app = modal.App("bench-iris")
image = (
    modal.Image.debian_slim()
    .pip_install("fastapi[standard]", "scikit-learn", "joblib", "numpy")
    .add_local_file("iris_model.pkl", "/root/iris_model.pkl")
    .add_local_python_source("iris_function")
)


@app.function(image=image, max_containers=1)
@modal.concurrent(max_inputs=100)
@modal.fastapi_endpoint(method="POST")
def predict(item: dict):
    return classify(item)
