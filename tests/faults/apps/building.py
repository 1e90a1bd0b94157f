"""An image whose build does not end."""

import modal

app = modal.App("building")


@app.function(image=modal.Image.debian_slim().run_commands("trap '' PIPE; sleep 86399"))
def never() -> None:
    pass
