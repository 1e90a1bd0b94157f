"""The line of those who wait: first come, first served, whoever leaves in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionian.dispatch.line import Line
from ionian.dispatch.slot import Slot
from ionian.errors import IonianError


class Waiting:
    def __init__(self, name: int) -> None:
        self.name = name
        self.since = 0.0
        self.waiting = False

    def give(self, slot: Slot) -> bool:
        return True

    def fail(self, error: IonianError) -> None:
        raise error


def test_nobody() -> None:
    line = Line()
    assert not len(line)
    assert line.first() is None
    with pytest.raises(IndexError):
        line.next()


def test_who_has_left_or_never_came_cannot_leave() -> None:
    line, one = Line(), Waiting(1)
    assert not line.leave(one)
    line.join(one)
    assert line.next() is one
    assert not line.leave(one)


def test_many_leave_the_middle() -> None:
    line = Line()
    everybody = [Waiting(n) for n in range(1000)]
    for waiting in everybody:
        line.join(waiting)
    for waiting in everybody[1:-1]:
        assert line.leave(waiting)
    assert len(line) == 2
    assert [line.next(), line.next()] == [everybody[0], everybody[-1]]
    assert line.first() is None


@given(
    st.lists(st.tuples(st.sampled_from(["join", "leave", "next", "first", "all"]), st.integers(0, 200)), max_size=300)
)
def test_like_a_list(moves: list[tuple[str, int]]) -> None:
    line, model, count = Line(), list[Waiting](), 0
    for move, number in moves:
        if move == "join":
            for _ in range(number):  # enough that places of those who left are given up
                count += 1
                model.append(Waiting(count))
                line.join(model[-1])
        elif move == "leave":
            for waiting in model[1 : number + 1]:
                assert line.leave(waiting)
            del model[1 : number + 1]
        elif move == "next" and model:
            assert line.next() is model.pop(0)
        elif move == "first":
            assert line.first() is (model[0] if model else None)
        elif move == "all" and number < 10:
            assert line.take_all() == model
            model = []
        assert len(line) == len(model)
        assert list(line) == model
        assert all(waiting.waiting for waiting in model)
