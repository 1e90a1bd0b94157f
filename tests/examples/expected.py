"""What each program of examples/calls prints, line by line."""

PRINTED = {
    "calling.py": """\
remote: 9, in a container
local: 9, here
async function: Good day, Grace!
remote.aio: 16, in a container
at once: ['Hello, Ada!', 'Hi, Alan!']
method: 1 2
""",
    "spawning.py": """\
timeout=0: not yet
get: 9
get again: 9 9
from_id: 9
call graph: slow_square SUCCESS (square SUCCESS)
gather: [0, 1, 4, 9]
gather with a failure: one of them failed
cancelled: RemoteError
""",
    "mapping.py": """\
map: [0, 1, 4, 9, 16, 25]
many: 8955050
two iterators: ['apple 150 g', 'pear 180 g']
starmap: ['plum 60 grams', 'fig 40 grams']
for_each: done
as they come: [0, 1, 4, 9, 16, 25]
in order: [2, 0] first done first: [0, 2]
raises: 3 is a multiple of three
return_exceptions: [1, 2, 'failed', 4, 5, 'failed']
ignore_exceptions: done
map.aio: [0, 1, 4]
""",
    "spawn_many.py": """\
inputs: 100
one of them: 49
all of them: 328350
the last ten: [8100, 8281, 8464, 8649, 8836, 9025, 9216, 9409, 9604, 9801]
spawn_map: accepted
""",
    "generators.py": """\
items: [0, 1, 4, 9, 16]
async items: [0, 1, 4, 9, 16]
many: 8995500500
method: the quick brown fox
nothing: []
left early at: 25
failed: [0, 1, 2] failed after 3
remote_gen.aio: [0, 1, 4]
""",
    "concurrency.py": """\
threads: [0, 1, 4, 9]
tasks: 40425
target_inputs: 2470
alone: 1
alone: 2 fails alone
alone: 3
""",
    "batching.py": """\
full batches: [(0, 4), (1, 4), (4, 4), (9, 4), (16, 4), (25, 4), (36, 4), (49, 4)]
one alone waits, then goes: (81, 1)
two arguments: [3, 7]
method: [0, 10, 20, 30]
wrong length: Output of batched function forgetful must be a list of equal length as its inputs.
""",
    "retrying.py": """\
retries=2: one on try 3
in a map: ['two on try 3', 'three on try 3']
spawned: four on try 3
used up: five failed on try 2
Retries(), each wait longer: [True, True, True]
timeout=1: over
timeout with retries: in time on try 2
""",
    "starting.py": """\
startup_timeout=60: ready
startup_timeout=1: RemoteError
enter failed: no model file
single_use_containers: [(1, False), (1, False)]
""",
    "cancelling.py": """\
cancelled while it ran: RemoteError
cancelled while it ran: RemoteError
the container's diary: ['tidied up', 'tidied up asynchronously']
cancelled while it waited: RemoteError
cancelled with its container: RemoteError
finished: 0
too late to cancel: 0
""",
    "errors.py": """\
fine: 3
attributes: pear 1
raised in: order
a result that cannot be pickled: TypeError
an exception that cannot be pickled: SerializationError says it True
serialized=True: 42
""",
    "inside.py": """\
recursion: 24
a tree of maps: 10
every way: [9, 9, [0, 1, 4], [0, 1, 2], 9]
every way, async: [9, [0, 1, 4]]
a function as an argument: 36
through two containers: division by zero
""",
    "big_data.py": """\
a large argument: True
a large result: 50 MiB
both: True
spawned: 10 MiB
in a map: [1, 3, 9]
item by item: 32 MiB
""",
}

NOT_OF_OLD = {"spawn_many.py", "starting.py"}  # what they show came with later clients
