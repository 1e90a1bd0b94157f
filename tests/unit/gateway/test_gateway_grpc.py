"""A real gRPC client and HTTP requests on the same port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.wrappers_pb2 import StringValue
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler
from grpclib.server import Server

from tests.unit.gateway.web_site import show, site


class Greeter:
    async def greet(self, stream: Any) -> None:
        message = await stream.recv_message()
        await stream.send_message(StringValue(value="hello " + message.value))

    def __mapping__(self) -> dict[str, Handler]:
        return {"/test.Greeter/Greet": Handler(self.greet, Cardinality.UNARY_UNARY, StringValue, StringValue)}


async def test_grpc_and_http_share_the_port(tmp_path: Path) -> None:
    async with site(tmp_path) as shop:
        await shop.add(show)
        server = Server([Greeter()])
        shop.gateway.grpc = server._protocol_factory
        channel = Channel("127.0.0.1", shop.port)
        try:
            greet = UnaryUnaryMethod[StringValue, StringValue](channel, "/test.Greeter/Greet", StringValue, StringValue)
            for name in ("a", "b" * 100_000):
                assert (await greet(StringValue(value=name), timeout=20)).value == "hello " + name
                assert (await shop.get()).status == 200
        finally:
            channel.close()
        assert shop.gateway.counters.grpc == 1
