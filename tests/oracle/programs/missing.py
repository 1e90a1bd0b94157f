import modal

app = modal.App("missing")

if modal.is_local():

    @app.function()
    def only_here():
        return 1


@app.local_entrypoint()
def main():
    from telling import tell, told_app

    told_app(app)
    tell("missing", lambda: only_here.remote())
