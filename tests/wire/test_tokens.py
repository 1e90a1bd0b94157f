"""Who may speak: the real client with a right, a wrong and no token; and RPCs that are not built."""

from __future__ import annotations

import json
from pathlib import Path

from grpclib.client import Channel
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError

from ionian import wire
from ionian.state import tokens
from tests.wire.stage import TOKEN, Stage


async def test_a_wrong_secret_is_refused_with_what_to_do(scene: Stage, client: Path, work: Path) -> None:
    done = await scene.run(client / "modal", "app", "list", cwd=work, env=scene.environment(secret="as-wrong"))
    assert done.code == 1
    assert "ak-test" in done.output
    assert "ionian env" in done.output


async def test_token_set_stores_the_token_and_the_server(scene: Stage, client: Path, work: Path) -> None:
    env = {k: v for k, v in scene.environment().items() if not k.startswith("MODAL_TOKEN")}
    command = ["token", "set", "--token-id", TOKEN[0], "--token-secret", TOKEN[1], "--profile", "local"]
    (await scene.run(client / "modal", *command, cwd=work, env=env)).ok()
    if "client-" not in str(client):  # the old one does not store the server
        del env["MODAL_SERVER_URL"]
    (await scene.run(client / "modal", "app", "list", cwd=work, env=env)).ok()
    assert scene.rpcs("AppList") == 1
    assert (await scene.run(client / "modal", "profile", "current", cwd=work, env=env)).ok().strip() == "local"
    command[-3] = "as-wrong"
    assert (await scene.run(client / "modal", *command, cwd=work, env=env)).code == 1


async def test_an_rpc_that_is_not_built_says_its_name(scene: Stage, new_client: Path, work: Path) -> None:
    done = await scene.run(new_client / "modal", "volume", "list", cwd=work)
    assert done.code == 1
    assert "RPC VolumeList is not built in this server yet" in done.output


async def test_token_info_and_environments(scene: Stage, new_client: Path, work: Path) -> None:
    output = (await scene.run(new_client / "modal", "token", "info", cwd=work)).ok()
    assert "ak-test" in output
    assert "acme" in output
    assert "main" in (await scene.run(new_client / "modal", "environment", "list", cwd=work)).ok()
    assert (await scene.run(new_client / "modal", "container", "list", cwd=work)).code == 0


async def test_a_token_that_is_disabled_or_deleted_is_out_at_once(scene: Stage, new_client: Path, work: Path) -> None:
    other = ("ak-other", "as-other")
    await scene.database.write(tokens.ensure, *other, "another", 2.0)
    await scene.database.write(tokens.replace_first, "ak-home", "as-home", 2.0)
    theirs = {**scene.environment(), "MODAL_TOKEN_ID": other[0], "MODAL_TOKEN_SECRET": other[1]}

    async def gets_in() -> bool:
        done = await scene.run(new_client / "modal", "app", "list", cwd=work, env=theirs)
        assert done.code == 0 or "ak-other" in done.output
        return done.code == 0

    async def manage(*arguments: str, code: int = 0) -> str:
        done = await scene.run(new_client / "modal", "workspace", "member-tokens", *arguments, cwd=work)
        assert done.code == code, done.output
        return done.output

    assert await gets_in()  # and is known from now on
    listed = {found["token_id"]: found for found in json.loads(await manage("list", "--json"))}
    assert {name: found["name"] for name, found in listed.items()} == {
        "ak-test": "test",
        "ak-other": "another",
        "ak-home": "first",
    }
    await manage("disable", "ak-other", "--yes")
    assert not await gets_in()
    await manage("enable", "ak-other", "--yes")
    assert await gets_in()
    await manage("delete", "ak-other", "--yes")
    assert not await gets_in()
    assert "not found" in await manage("delete", "ak-other", "--yes", code=1)
    for verb in ("disable", "delete"):
        assert "this server's own" in await manage(verb, "ak-home", "--yes", code=1)
    assert await scene.database.read(tokens.check, "ak-home", "as-home")


async def test_no_rpc_but_the_token_flow_answers_without_a_token(scene: Stage) -> None:
    host, port = scene.url.removeprefix("http://").split(":")
    channel = Channel(host, int(port))
    open_rpcs = set()
    try:
        for rpc in wire.rpcs():
            kind = Cardinality.UNARY_STREAM if rpc.streams else Cardinality.UNARY_UNARY
            async with channel.request(rpc.path, kind, rpc.request, rpc.response) as stream:
                await stream.send_message(rpc.request(), end=True)
                try:
                    await stream.recv_message()
                    status = Status.OK
                except GRPCError as error:
                    status = error.status
            if status is not Status.UNAUTHENTICATED:
                open_rpcs.add(rpc.name)
    finally:
        channel.close()
    assert open_rpcs == {"TokenFlowCreate", "TokenFlowWait"}
