import sys

import modal

app = modal.App("exit-at-import")


@app.function()
def never():
    return 1


if not modal.is_local():
    sys.exit("leaving at import")


@app.local_entrypoint()
def main():
    from telling import tell, told_app

    told_app(app)
    tell("never", lambda: never.remote())
