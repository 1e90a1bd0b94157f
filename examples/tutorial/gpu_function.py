"""A function on a GPU: `modal run gpu_function.py` prints which one it got."""

import modal

app = modal.App("tutorial-gpu")


@app.function(gpu="T4")
def gpu_info():
    import subprocess

    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()


@app.local_entrypoint()
def main():
    print(gpu_info.remote())
