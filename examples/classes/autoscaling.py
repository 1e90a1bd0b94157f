"""Containers kept warm while it pays: `modal deploy autoscaling.py`, then `python autoscaling.py`.

`update_autoscaler` holds until the next deploy. Each set of parameters scales by itself.
"""

import time

import modal

app = modal.App("classes-autoscaling")


@app.cls(scaledown_window=2)
class Model:
    size: str = modal.parameter()

    @modal.method()
    def ask(self, question: str) -> str:
        return f"{question}? {self.size}!"


def containers(model, wanted: int) -> int:
    for _ in range(100):
        running = model.ask.get_current_stats().num_total_runners
        if running == wanted:
            break
        time.sleep(0.2)
    return running


if __name__ == "__main__":
    small = modal.Cls.from_name("classes-autoscaling", "Model")(size="small")
    print(small.ask.remote("how"))
    print("idle for two seconds:", containers(small, 0))
    settings = small.update_autoscaler(min_containers=2, max_containers=3)
    print("now:", settings.min_containers, settings.max_containers, settings.scaledown_window)
    print("kept warm:", containers(small, 2))
    small.update_autoscaler(min_containers=0)
    print("and no more:", containers(small, 0))
