"""One module per verb of the command line. Each has ``run(arguments, home) -> exit code``."""

VERBS = {
    "up": "start the server (--detach returns when it is ready)",
    "down": "stop the server and everything it runs",
    "status": "show what is running, and in which isolation",
    "env": "print shell export lines that point the modal client here, for eval",
    "url": "print the addresses of an app's web functions",
    "logs": "show what an app printed (-f follows)",
    "secret": "`secret rotate-key` seals all secrets with a new key; every other `secret ...` is the modal client's",
    "schedule": "list, run, pause, resume what runs by itself, and show what has run",
    "approve": "approve a `modal token new` that waits, by the code it shows",
    "doctor": "check this machine: what would not work, and how to mend it",
    "prune": "remove image layers that no live app needs (while the server is stopped)",
    "demo": "train, deploy and call the iris example, step by step",
}
