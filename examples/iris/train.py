# /// script
# requires-python = ">=3.9"
# dependencies = ["scikit-learn", "joblib", "numpy"]
# ///
"""Train the model that both apps serve: `uv run train.py` writes iris_model.pkl here and prints its accuracy.

The dependencies above are the ones the apps' image installs, so the model is read by the scikit-learn that wrote it.
"""

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

features, classes = load_iris(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(features, classes, test_size=0.2, random_state=42, stratify=classes)
model = LogisticRegression(max_iter=1000).fit(train_x, train_y)
print(f"accuracy on {len(test_y)} flowers it has not seen: {model.score(test_x, test_y):.3f}")
joblib.dump(model, "iris_model.pkl")
print("wrote iris_model.pkl")
