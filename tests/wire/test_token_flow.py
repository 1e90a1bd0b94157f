"""``modal token new``: real clients wait, a plain HTTP client plays the browser."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from grpclib.client import Channel
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError

from ionian import wire
from ionian.api import approval
from ionian.api.flows import FLOW_S, MAX_FLOWS
from ionian.errors import InvalidRequest, NotFound
from ionian.state import tokens
from ionian.wire import api_pb2
from tests.wire.stage import TOKEN, Stage

RIGHT = {"token_id": TOKEN[0], "token_secret": TOKEN[1]}


@dataclass
class Waiting:
    """A ``modal token new`` that has printed its address and code."""

    process: asyncio.subprocess.Process
    url: str
    code: str

    async def end(self) -> str:
        output, _ = await asyncio.wait_for(self.process.communicate(), 60)
        assert self.process.returncode == 0, output.decode()
        return output.decode()


def anonymous(scene: Stage) -> dict[str, str]:
    env = {key: value for key, value in scene.environment().items() if not key.startswith("MODAL_TOKEN")}
    return {**env, "BROWSER": "true"}


@asynccontextmanager
async def token_new(scene: Stage, client: Path, *options: str) -> AsyncIterator[Waiting]:
    process = await asyncio.create_subprocess_exec(
        *map(str, (client / "python", "-u", client / "modal", "token", "new", *options)),
        env=anonymous(scene),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    printed = ""
    try:
        while "Enter this code:" not in printed:
            line = await asyncio.wait_for(process.stdout.readline(), 60)
            assert line, printed
            printed += line.decode()
        url = re.search(r"http://\S+/_ionian/token/tf-\w+", printed)
        code = re.search(r"Enter this code: (\S+)", printed)
        assert url
        assert code
        yield Waiting(process, url[0], code[1])
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def browser(url: str, fields: dict[str, str] | None = None) -> tuple[int, str, dict[str, str]]:
    """What a browser gets: the page, or the answer to its form."""
    async with (
        aiohttp.ClientSession() as session,
        session.request("POST" if fields else "GET", url, data=fields) as response,
    ):
        return response.status, await response.text(), {name.lower(): text for name, text in response.headers.items()}


async def test_a_new_token_is_approved_in_a_browser_and_works(scene: Stage, client: Path, work: Path) -> None:
    async with token_new(scene, client) as waiting:
        status, page, headers = await browser(waiting.url)
        assert status == 200
        assert {f'name="{name}"' in page for name in ("code", "token_id", "token_secret")} == {True}
        assert waiting.code not in page
        assert "frame-ancestors 'none'" in headers["content-security-policy"]

        refusals = {
            401: {**RIGHT, "token_secret": "as-wrong", "code": waiting.code},
            400: {**RIGHT, "code": "BBBB-BBBB"},
        }
        for expected, fields in refusals.items():
            status, page, _ = await browser(waiting.url, fields)
            assert status == expected
            assert "Nothing was approved" in page
        assert (await browser(waiting.url, {"code": waiting.code}))[0] == 401  # what another web page could send

        status, page, _ = await browser(waiting.url, {**RIGHT, "code": waiting.code.lower().replace("-", " ")})
        assert status == 200
        assert "Approved" in page
        said = await waiting.end()
    assert "Token is connected to the acme workspace" in said
    assert "Token verified successfully" in said

    profile = tomllib.loads((scene.home / "modal.toml").read_text())["acme"]
    assert profile["active"] is True
    assert profile["token_id"] != TOKEN[0]
    (await scene.run(client / "modal", "app", "list", cwd=work, env=anonymous(scene))).ok()
    assert (await scene.run(client / "modal", "profile", "current", cwd=work, env=anonymous(scene))).ok() == "acme\n"
    for file in scene.home.glob("ionian.db*"):
        assert profile["token_secret"].encode() not in file.read_bytes()


async def test_delete_existing_deletes_the_old_one(scene: Stage, new_client: Path, work: Path) -> None:
    made = []
    for options in ((), ("--delete-existing",)):
        async with token_new(scene, new_client, *options) as waiting:
            await browser(waiting.url, {**RIGHT, "code": waiting.code})
            said = await waiting.end()
        made.append(tomllib.loads((scene.home / "modal.toml").read_text())["acme"])
    assert "has been deleted" in said
    assert made[0]["token_id"] != made[1]["token_id"]
    for profile, valid in zip(made, (False, True), strict=True):
        found = await scene.database.read(tokens.check, profile["token_id"], profile["token_secret"])
        assert (found is not None) is valid
        env = {"MODAL_TOKEN_ID": profile["token_id"], "MODAL_TOKEN_SECRET": profile["token_secret"]}
        done = await scene.run(new_client / "modal", "app", "list", cwd=work, env={**scene.environment(), **env})
        assert (done.code == 0) is valid, done.output


async def test_an_expiry_is_refused_by_name(scene: Stage, new_client: Path, work: Path) -> None:
    done = await scene.run(new_client / "modal", "token", "new", "--expires-in", "7d", cwd=work, env=anonymous(scene))
    assert done.code == 1
    assert "--expires-in" in done.output
    assert not (scene.home / "modal.toml").exists()


async def call(scene: Stage, name: str, request: wire.Message) -> wire.Message:
    host, port = scene.url.removeprefix("http://").split(":")
    rpc = next(rpc for rpc in wire.rpcs() if rpc.name == name)
    channel = Channel(host, int(port))
    try:
        async with channel.request(rpc.path, Cardinality.UNARY_UNARY, rpc.request, rpc.response) as stream:
            await stream.send_message(request, end=True)
            answer = await stream.recv_message()
            assert answer is not None
            return answer
    finally:
        channel.close()


async def test_only_the_client_that_began_it_collects_and_may_ask_twice(scene: Stage) -> None:
    flow = await call(scene, "TokenFlowCreate", api_pb2.TokenFlowCreateRequest())
    assert isinstance(flow, api_pb2.TokenFlowCreateResponse)
    wait = api_pb2.TokenFlowWaitRequest(token_flow_id=flow.token_flow_id, wait_secret=flow.wait_secret)
    assert (await call(scene, "TokenFlowWait", wait)).timeout  # type: ignore[attr-defined]

    await browser(flow.web_url, {**RIGHT, "code": flow.code})
    stolen = api_pb2.TokenFlowWaitRequest(token_flow_id=flow.token_flow_id, wait_secret=flow.code)
    with pytest.raises(GRPCError) as caught:
        await call(scene, "TokenFlowWait", stolen)
    assert caught.value.status is Status.INVALID_ARGUMENT
    assert await call(scene, "TokenFlowWait", wait) == await call(scene, "TokenFlowWait", wait)

    unknown = api_pb2.TokenFlowWaitRequest(token_flow_id="tf-none", wait_secret=flow.wait_secret)
    with pytest.raises(GRPCError) as caught:
        await call(scene, "TokenFlowWait", unknown)
    assert caught.value.status is Status.NOT_FOUND
    assert "modal token new" in str(caught.value.message)
    status, page, _ = await browser(flow.web_url + "x")
    assert status == 404
    assert "expired" in page


@dataclass
class Posted:
    text: bytes
    method: str = "POST"

    @property
    async def body(self) -> AsyncIterator[bytes]:
        yield self.text


async def test_a_command_approves_by_code_until_it_expires(scene: Stage) -> None:
    now = scene.context.now
    flow, old = scene.context.flows.begin(now), scene.context.flows.begin(now - FLOW_S)
    await approval.by_code(scene.context, Posted(f'{{"code": "{flow.code.lower()}"}}'.encode()), "ak-test")
    assert flow.approved.is_set()
    for text, error in [
        (f'{{"code": "{old.code}"}}', NotFound),
        ('{"code": ""}', NotFound),
        ("code", InvalidRequest),
        ("x" * 5000, InvalidRequest),
    ]:
        with pytest.raises(error):
            await approval.by_code(scene.context, Posted(text.encode()), "ak-test")
    assert not old.approved.is_set()


async def test_open_flows_are_bounded_and_old_ones_make_room(scene: Stage) -> None:
    for _ in range(MAX_FLOWS):
        scene.context.flows.begin(1.0)
    with pytest.raises(Exception, match="open already"):
        scene.context.flows.begin(1.0)
    assert scene.context.flows.begin(1.0 + FLOW_S)
