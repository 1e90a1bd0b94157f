"""The same function as a FastAPI application for bare uvicorn, wrapped as the client wraps a ``fastapi_endpoint``."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from bench.apps.iris_function import classify


def predict(item: dict):  # type: ignore[type-arg,no-untyped-def]  # as in iris_many.py
    return classify(item)


app = FastAPI(openapi_url=None)
app.add_middleware(
    CORSMiddleware, allow_origins=["*"], allow_credentials=True, allow_methods=["*"], allow_headers=["*"]
)
app.add_api_route("/", predict, methods=["POST"])
