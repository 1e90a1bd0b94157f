import modal

app = modal.App("at-import")


@app.function(retries=0)
def never():
    return 1


if not modal.is_local():
    print("importing")
    raise RuntimeError("no import today")


@app.local_entrypoint()
def main():
    from telling import tell, told_app

    told_app(app)
    tell("never", lambda: never.remote())
    never.remote()
