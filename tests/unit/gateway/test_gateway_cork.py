"""What is written in one turn of the loop goes out in one piece, in order, and nothing of it is lost or late."""

from __future__ import annotations

import asyncio

from ionian.gateway.cork import FULL, Cork


class Real(asyncio.Transport):
    """Notes each write, as a real transport would send it."""

    def __init__(self) -> None:
        super().__init__({"peername": "somebody"})
        self.sent: list[bytes] = []
        self.ended = ""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def is_closing(self) -> bool:
        return bool(self.ended)


def _cork() -> tuple[Real, Cork]:
    real = Real()
    return real, Cork(real, asyncio.get_running_loop())


async def test_the_writes_of_one_turn_are_one() -> None:
    real, cork = _cork()
    for piece in (b"head", b"message", b"trailer"):
        cork.write(piece)
    assert real.sent == []
    await asyncio.sleep(0)
    assert real.sent == [b"headmessagetrailer"]
    cork.write(b"next")
    await asyncio.sleep(0)
    assert real.sent[1:] == [b"next"]


async def test_a_buffer_that_is_used_again_is_sent_as_it_was() -> None:
    real, cork = _cork()
    buffer = bytearray(b"one")
    cork.write(buffer)
    buffer[:] = b"two"
    await asyncio.sleep(0)
    assert real.sent == [b"one"]


async def test_much_does_not_wait_so_that_the_real_transport_can_slow_the_writer() -> None:
    real, cork = _cork()
    cork.write(b"a")
    cork.write(b"b" * FULL)
    assert real.sent == [b"a" + b"b" * FULL]
    cork.write(b"c")
    await asyncio.sleep(0)
    assert real.sent[1:] == [b"c"]


async def test_closing_sends_what_waits_first() -> None:
    real, cork = _cork()
    cork.write(b"last words")
    cork.close()
    assert (real.sent, real.ended, cork.is_closing()) == ([b"last words"], "closed", True)
    await asyncio.sleep(0)
    assert real.sent == [b"last words"]


async def test_aborting_sends_nothing_more() -> None:
    real, cork = _cork()
    cork.write(b"never")
    cork.abort()
    await asyncio.sleep(0)
    assert (real.sent, real.ended) == ([], "aborted")


async def test_a_connection_that_is_lost_meanwhile_is_not_written_to() -> None:
    real, cork = _cork()
    cork.write(b"too late")
    real.close()
    await asyncio.sleep(0)
    assert real.sent == []


async def test_it_tells_what_the_real_one_knows() -> None:
    _, cork = _cork()
    assert cork.get_extra_info("peername") == "somebody"
    assert cork.get_extra_info("socket", "none") == "none"
