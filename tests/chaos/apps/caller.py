"""A client that lives as long as the test, and calls all the time. It says on stdout what it asked for and was told.

Arguments: seed, port of the recorder, how many ask at the same time. Told ``stop`` on stdin it collects what is
missing, told ``again`` it asks once more for every result that it has a call's id for.
"""

import asyncio
import hashlib
import json
import random
import sys
import time
import traceback

import grpclib.exceptions
import modal
from orders import FUNCTIONS, app

SEED, PORT, CALLERS = (int(argument) for argument in sys.argv[1:4])
WAIT_S = 240.0  # for one result, kills and all
SAME_TIME = 8  # results asked for together at the end
NOT_NOW = (
    modal.exception.ConnectionError,
    modal.exception.ServiceError,
    modal.exception.InternalError,
    grpclib.GRPCError,
    grpclib.exceptions.StreamTerminatedError,
    OSError,
    asyncio.TimeoutError,
)


def not_now(error):
    """Whether the client could not reach the server, or lost it."""
    torn = isinstance(error, AttributeError) and "_transport" in str(error)  # grpclib's, when a connection just closed
    return torn or isinstance(error, NOT_NOW)


def tell(**said):
    print(json.dumps({**said, "at": time.monotonic()}), flush=True)


def shown(value):
    """A result or an exception, so that two are the same when their bytes are."""
    if isinstance(value, BaseException):
        return ["raised", type(value).__name__, str(value)]
    return ["returned", len(value), hashlib.sha256(value.encode()).hexdigest()]


class Caller:
    def __init__(self):
        self.chance = random.Random(SEED)
        self.over = False
        self.count = 0
        self.known = {}  # token -> call id, index

    def orders(self, name, how):
        """New orders; some end badly the first time they are begun."""
        made = []
        for _ in range(1 if how in ("spawn", "remote") or name == "alone" else self.chance.randint(2, 5)):
            self.count += 1
            end = self.chance.choices(["well", "raises", "exits", "dies"], [88, 6, 4, 2])[0]
            size = 5_000_000 if self.chance.random() < 0.01 else 64
            seconds = self.chance.choice([0.0, 0.0, 0.01, 0.05, 0.2, 0.5])
            order = {
                "token": f"token-{SEED}-{self.count}-end",
                "port": PORT,
                "end": end,
                "seconds": seconds,
                "size": size,
            }
            made.append(order)
            tell(asked=order, function=name, how=how)
        return made

    async def calls(self):
        while not self.over:
            name = self.chance.choices(list(FUNCTIONS), list(FUNCTIONS.values()))[0]
            how = self.chance.choices(["spawn", "remote", "map", "spawn_map"], [5, 2, 2, 2])[0]
            orders = self.orders(name, how)
            tokens = [order["token"] for order in orders]
            try:
                await getattr(self, how)(modal.Function.from_name("chaos", name), orders)
            except Exception as error:  # noqa: BLE001 - whatever a user may see is told
                why = f"{type(error).__name__}: {error}"
                if not_now(error):
                    tell(unknown=tokens, why=why)
                else:
                    tell(broken=tokens, why=why, where=traceback.format_exc()[-1500:])
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.02)

    async def spawn(self, function, orders):
        call = await function.spawn.aio(orders[0])
        await self.collect(call, orders)

    async def spawn_map(self, function, orders):
        call = await function.experimental_spawn_map.aio(orders)
        await self.collect(call, orders)

    async def collect(self, call, orders):
        tokens = [order["token"] for order in orders]
        tell(accepted=tokens, call=call.object_id)
        for index, token in enumerate(tokens):
            self.known[token] = call.object_id, index
            tell(result=token, value=await self.result(call.object_id, index))

    async def result(self, call_id, index):
        """The result or exception of an accepted input, however often the server goes away."""
        until = time.monotonic() + WAIT_S
        last = None
        while time.monotonic() < until:
            try:
                return shown(await modal.FunctionCall.from_id(call_id).get.aio(timeout=10, index=index))
            except modal.exception.FunctionTimeoutError as error:
                return shown(error)
            except Exception as error:  # noqa: BLE001 - the function's, and those of lost containers
                if not not_now(error):
                    return shown(error)
                last = error
                await asyncio.sleep(0.05)
        return ["missing", repr(last), call_id]

    async def remote(self, function, orders):
        token = orders[0]["token"]
        try:
            value = await function.remote.aio(orders[0])
        except Exception as error:
            if not_now(error):
                raise
            value = error
        tell(result=token, value=shown(value))

    async def map(self, function, orders):
        found = function.map.aio(orders, return_exceptions=True)
        number = 0
        async for value in found:
            tell(result=orders[number]["token"], value=shown(value))
            number += 1

    async def again(self):
        """Ask once more for all of them."""
        waiting = list(self.known.items())

        async def ask():
            while waiting:
                token, (call_id, index) = waiting.pop()
                tell(again=token, value=await self.result(call_id, index))

        await asyncio.gather(*[ask() for _ in range(SAME_TIME)])

    async def run(self):
        await app.deploy.aio()
        tell(deployed=True)
        tasks = [asyncio.create_task(self.calls()) for _ in range(CALLERS)]
        while word := (await asyncio.to_thread(sys.stdin.readline)).strip():
            if word == "stop":
                self.over = True
                await asyncio.gather(*tasks)
            elif word == "again":
                await self.again()
            tell(done=word)


asyncio.run(Caller().run())
