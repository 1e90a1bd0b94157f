"""The JavaScript client from npm calls functions that the Python client has deployed."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.machine import Client, Machine
from tests.js.node import Node

EXAMPLES = Path(__file__).parents[2] / "examples" / "calls"


def test_arguments_and_results_keep_their_values(machine: Machine, node: Node) -> None:
    arguments = '[1, -2.5, "ä", true, null, [], {}, [{"deep": [[1], {"k": [null]}]}]]'
    assert node.value(machine, f"return call('echo', {arguments}, {{ key: 'word' }});") == [
        [1, -2.5, "ä", True, None, [], {}, [{"deep": [[1], {"k": [None]}]}]],
        {"key": "word"},
    ]
    assert node.value(machine, "return call('echo');") == [[], {}]


def test_what_python_sees_of_javascript_values(machine: Machine, node: Node) -> None:
    """Numbers that do not fit 32 bits arrive as floats: the client sends them so. A BigInt stays an int."""
    values = """[1, 2 ** 40, 1.5, "text", true, null, new Uint8Array([0, 255]), new Date(0), 2n ** 63n, 2n ** 80n,
                 -(2n ** 63n), [1, [2]], { a: { b: 1 } }, new Map([["k", 1]]), NaN, Infinity]"""
    assert node.value(machine, f"return call('kinds', {values});") == [
        "int 1",
        "float 1099511627776.0",
        "float 1.5",
        "str 'text'",
        "bool True",
        "NoneType None",
        "bytes b'\\x00\\xff'",
        "datetime datetime.datetime(1970, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)",
        "int 9223372036854775808",
        "int 1208925819614629174706176",
        "int -9223372036854775808",
        "list [1, [2]]",
        "dict {'a': {'b': 1}}",
        "dict {'k': 1}",
        "float nan",
        "float inf",
    ]


def test_what_javascript_sees_of_python_values(machine: Machine, node: Node) -> None:
    body = """
    const found = await call("values");
    return [
      found.bytes instanceof Uint8Array && [...found.bytes],
      found.when instanceof Date && found.when.toISOString(),
      typeof found.large, String(found.large), typeof found.larger, String(found.larger), found.nested,
    ];"""
    assert node.value(machine, body) == [
        [0, 255],
        "2024-02-29T12:30:00.000Z",
        "bigint",
        str(2**62),
        "bigint",
        str(2**70),
        [{"a": [None, True, 1.5]}],
    ]


def test_errors_of_the_function(machine: Machine, node: Node) -> None:
    body = "return [await failure(call('fail', ['too low'])), await failure(call('unencodable'))];"
    raised, unencodable = node.value(machine, body)
    assert raised == {"name": "RemoteError", "message": "Remote error: TooSmall('too low')"}
    assert unencodable["name"] == "RemoteError"
    assert "Can not serialize type builtins.object as cbor" in unencodable["message"]


def test_wrong_arguments_are_an_error_of_the_call(machine: Machine, node: Node) -> None:
    error = node.value(machine, "return failure(call('fail', [1, 2]));")
    assert error["name"] == "RemoteError"
    assert "takes 1 positional argument but 2 were given" in error["message"]


def test_a_function_that_is_too_slow(machine: Machine, node: Node) -> None:
    error = node.value(machine, "return failure(call('too_slow'));")
    assert error["name"] == "FunctionTimeoutError"


def test_spawn_and_get(machine: Machine, node: Node) -> None:
    body = """
    const spawned = await spawn("sleep", [0.5]);
    const early = await failure(spawned.get({ timeoutMs: 50 }));
    const again = await client.functionCalls.fromId(spawned.functionCallId);
    return [early.name, await again.get(), await spawned.get({ timeoutMs: 60000 })];"""
    assert node.value(machine, body) == ["TimeoutError", "slept", "slept"]


def test_cancel(machine: Machine, node: Node) -> None:
    body = """
    const spawned = await spawn("sleep", [600]);
    await spawned.cancel();
    return failure(spawned.get());"""
    error = node.value(machine, body)
    assert error["name"] == "RemoteError"
    assert "cancel" in error["message"]


def test_a_call_of_another_program_is_found_by_its_id(machine: Machine, node: Node) -> None:
    call_id = node.value(machine, "return (await spawn('echo', [7])).functionCallId;")
    found = node.value(machine, f"return (await client.functionCalls.fromId('{call_id}')).get();")
    assert found == [[7], {}]
    unknown = node.value(machine, "return failure(client.functionCalls.fromId('fc-none'));")
    assert "NOT_FOUND" in unknown["message"]


def test_large_arguments_and_results_go_through_blobs(machine: Machine, node: Node) -> None:
    body = """
    const data = new Uint8Array(6000000);
    data[data.length - 1] = 9;
    const large = await call("zeros", [6000000]);
    return [await call("size", [data]), await (await spawn("size", [data])).get(), large.length];"""
    assert node.value(machine, body) == [["bytes", 6000000, 9], ["bytes", 6000000, 9], 6000000]


def test_generators_say_only_that_they_have_ended(machine: Machine, node: Node) -> None:
    """The client has no call for their items: it counts them."""
    assert node.value(machine, "return (await call('count', [3])).itemsTotal;") == 3


def test_classes(machine: Machine, node: Node) -> None:
    body = """
    const model = await (await client.cls.fromName("js-calls", "Model")).instance();
    return [await model.method("add").remote([2]), await model.method("add").remote([1], { times: 3 }),
            await (await model.method("add").spawn([5])).get()];"""
    assert node.value(machine, body) == [42, 43, 45]


def test_class_parameters_are_containers_of_their_own(machine: Machine, node: Node) -> None:
    body = """
    const found = await client.cls.fromName("js-calls", "WithParameter");
    const [three, four] = [await found.instance({ x: 3 }), await found.instance({ x: 4 })];
    return [await three.method("get").remote(), await four.method("get").remote(),
            await (await found.instance({ x: 3 })).method("get").remote(),
            (await failure(found.instance({}))).name, (await failure(found.instance({ x: "3" }))).name];"""
    assert node.value(machine, body)[:3] == [3, 4, 3]


def test_options_of_a_class(machine: Machine, node: Node) -> None:
    body = """
    const found = await client.cls.fromName("js-calls", "Model");
    const plain = await found.instance();
    const other = await found.withOptions({ timeoutMs: 5000, memoryMiB: 256 }).instance();
    const wide = await found.withConcurrency({ maxInputs: 4 }).instance();
    return [await other.method("add").remote([2]), await wide.method("add").remote([3]),
            plain.method("add").functionId !== other.method("add").functionId,
            await failure(found.withOptions({ gpu: "T4" }).instance())];"""
    *values, refused = node.value(machine, body)
    assert values == [42, 43, True]
    assert "gpu=T4 cannot run here" in refused["message"]


def test_autoscaling_is_changed(machine: Machine, node: Node) -> None:
    body = """
    const model = await (await client.cls.fromName("js-calls", "WithParameter")).instance({ x: 9 });
    const get = model.method("get");
    await get.updateAutoscaler({ minContainers: 1, scaledownWindowMs: 20000 });
    for (let i = 0; i < 300 && (await get.getCurrentStats()).numTotalRunners < 1; i++)
      await new Promise((resolve) => setTimeout(resolve, 100));
    const warm = (await get.getCurrentStats()).numTotalRunners;
    await get.updateAutoscaler({ minContainers: 0 });
    return warm;"""
    assert node.value(machine, body) == 1


def test_what_does_not_exist(machine: Machine, node: Node) -> None:
    body = """
    const model = await (await client.cls.fromName("js-calls", "Model")).instance();
    let missing;
    try { model.method("none"); } catch (error) { missing = error.name; }
    return [
      await failure(client.functions.fromName("js-calls", "none")),
      await failure(client.functions.fromName("none", "echo")),
      await failure(client.cls.fromName("js-calls", "None")),
      await failure(client.functions.fromId("fu-none")),
      { name: missing },
    ];"""
    assert [error["name"] for error in node.value(machine, body)] == ["NotFoundError"] * 5


def test_a_function_by_its_id_and_its_numbers(machine: Machine, node: Node) -> None:
    body = """
    const echo = await client.functions.fromName("js-calls", "echo");
    await echo.remote([]);
    const same = await client.functions.fromId(echo.functionId);
    return [await same.remote([1]), await same.getCurrentStats()];"""
    assert node.value(machine, body) == [[[1], {}], {"backlog": 0, "numTotalRunners": 1}]


def test_a_wrong_token_is_named(machine: Machine, node: Node) -> None:
    body = """
    const stranger = new ModalClient({ tokenId: "ak-none", tokenSecret: "as-none" });
    return failure(stranger.functions.fromName("js-calls", "echo"));"""
    message = node.value(machine, body)["message"]
    assert "UNAUTHENTICATED" in message
    assert "ak-none" in message


def test_the_example(machine: Machine, node: Node, new_client: Client) -> None:
    machine.modal(new_client, "deploy", str(EXAMPLES / "javascript.py"))
    assert node.program(machine, (EXAMPLES / "call.mjs").read_text()).splitlines() == [
        "remote: 1764",
        "spawn: 81",
        "class: Hello, Ada!",
        "error: Remote error: ValueError('-1 is too small')",
    ]
