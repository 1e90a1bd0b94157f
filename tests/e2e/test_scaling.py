"""How many containers, and what runs in one at a time. The gate decides when requests end, so nothing is timed."""

from __future__ import annotations

from urllib.parse import quote

from tests.e2e.gate import Gate
from tests.e2e.machine import Machine, until


def _query(gate: Gate) -> str:
    return f"?gate={quote(gate.url, safe='')}"


def test_requests_never_overlap_in_a_default_container(holding: Machine, held: Gate) -> None:
    requests = [holding.get_later("holding", "alone", _query(held)) for _ in range(6)]
    held.wait_for(lambda inside: len(inside) == 1, "the first request to be in the container")
    until(lambda: _queued(holding, "alone") == 5, "the other five to wait")
    assert held.peak == 1
    held.release()
    boots = {request.result().json()["boot"] for request in requests}
    assert held.peak == 1
    assert len(boots) == 1


def test_a_second_container_when_the_first_is_full_and_no_third(holding: Machine, held: Gate) -> None:
    requests = [holding.get_later("holding", "pair", _query(held)) for _ in range(5)]
    held.wait_for(lambda inside: len(set(inside)) == 2, "two containers at work")
    until(lambda: _queued(holding, "pair") == 3, "the other three to wait")
    assert holding.containers("holding", "pair") == 2
    held.release()
    assert len({request.result().json()["boot"] for request in requests}) == 2
    assert held.peak_of_one == 1


def test_a_concurrent_function_takes_many_at_once(holding: Machine, held: Gate) -> None:
    requests = [holding.get_later("holding", "many", _query(held)) for _ in range(10)]
    held.wait_for(lambda inside: len(inside) == 10, "ten requests in one container")
    held.release()
    assert len({request.result().json()["boot"] for request in requests}) == 1


def test_a_warm_container_is_used_again(holding: Machine) -> None:
    boots = {holding.get("holding", "alone").json()["boot"] for _ in range(5)}
    assert len(boots) == 1


def test_an_idle_function_goes_to_zero_and_comes_back(holding: Machine) -> None:
    first = holding.get("holding", "brief").json()["boot"]
    until(lambda: holding.containers("holding", "brief") == 0, "the idle container to be stopped")
    assert holding.get("holding", "brief").json()["boot"] != first


def _queued(machine: Machine, function: str) -> int:
    return sum(
        int(found["queued"])
        for app in machine.status()["apps"]
        if app["name"] == "holding"
        for found in app["functions"]
        if found["name"] == function
    )
