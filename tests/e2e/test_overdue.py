"""A web function that takes longer than its timeout gives its only place free soon, in the way its code allows."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import APPS
from tests.e2e.machine import Client, Machine, until

PATIENCE_S = 25  # less than the 30 s that a container being stopped in peace may take


@pytest.fixture(scope="module")
def overdue(server: Machine, new_client: Client) -> Machine:
    server.modal(new_client, "deploy", "overdue.py", cwd=APPS)
    return server


def _boot(overdue: Machine, function: str) -> str:
    """The container that answers."""
    answer = overdue.get_later("overdue", function).result(PATIENCE_S)
    assert answer.status == 200, answer.body
    return str(answer.json()["boot"])


def test_an_async_function_is_cancelled_and_its_container_goes_on(overdue: Machine) -> None:
    before = _boot(overdue, "awaited")
    late = overdue.get("overdue", "awaited", "?hang=true")
    assert (late.status, "its timeout of 2 s" in late.json()["detail"]) == (504, True)
    assert _boot(overdue, "awaited") == before
    until(lambda: f"cancelled in {before}" in overdue.cli("logs", "overdue", "-n", "0"), "the function to be told")


def test_a_blocking_function_costs_its_container(overdue: Machine) -> None:
    before = _boot(overdue, "blocked")
    late = overdue.get("overdue", "blocked", "?hang=true")
    assert (late.status, "its timeout of 2 s" in late.json()["detail"]) == (504, True)
    assert _boot(overdue, "blocked") != before
    assert overdue.containers("overdue", "blocked") == 1


def test_documentation_is_found_also_below_a_function_of_that_name(overdue: Machine) -> None:
    host = "local--overdue-docs.localhost"
    page = overdue.request("GET", "/docs", host=host)
    assert (page.status, page.headers["content-type"].split(";")[0]) == (200, "text/html")
    assert b"/openapi.json" in page.body
    assert "/" in overdue.request("GET", "/openapi.json", host=host).json()["paths"]
    assert b"'/docs/openapi.json'" in overdue.request("GET", "/docs/docs", host="local--overdue.localhost").body
