"""Queues from JavaScript: the example, and values that pass between both languages."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.machine import Client, Machine
from tests.js.node import Node

EXAMPLE = Path(__file__).parents[2] / "examples" / "objects" / "queue.mjs"


def test_the_example(bare: Machine, node: Node) -> None:
    assert node.program(bare, EXAMPLE.read_text()).splitlines() == [
        "in the queue: 3",
        "first: first",
        'the others: [2,{"third":true}]',
        "seen: apart",
        "all together: 1",
        "cleared: 0",
    ]


def test_values_pass_between_the_languages(bare: Machine, node: Node, new_client: Client) -> None:
    python = [str(new_client.prefix / "bin/python"), "-c"]
    put = "import modal; modal.Queue.from_name('both', create_if_missing=True).put_many([1, 'ä', [None, {'k': True}]])"
    bare.command([*python, put], environ=bare.variables())
    body = """
      const queue = await client.queues.fromName("both");
      const found = await queue.getMany(5);
      await queue.put([found.length, { back: "ö" }]);
      return found;"""
    assert node.value(bare, body) == [1, "ä", [None, {"k": True}]]
    get = "import modal; print(modal.Queue.from_name('both').get())"
    assert bare.command([*python, get], environ=bare.variables()).splitlines()[-1] == "[3, {'back': 'ö'}]"


def test_empty_full_and_waiting(bare: Machine, node: Node) -> None:
    body = """
      const queue = await client.queues.fromName("waits", { createIfMissing: true });
      const empty = await failure(queue.get({ timeoutMs: 200 }));
      const later = queue.get();
      await new Promise((resolve) => setTimeout(resolve, 300));
      await queue.put("came");
      const came = await later;
      await queue.putMany(Array.from({ length: 5000 }, (_, index) => index));
      const full = await failure(queue.put("x", { timeoutMs: 200 }));
      await queue.clear();
      return [empty.name, came, full.name, await queue.len()];"""
    assert node.value(bare, body) == ["QueueEmptyError", "came", "QueueFullError", 0]
