"""Runs that take a second, and what they leave."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

MAX_STEPS = 24
LENGTH = ["--trainer.max_steps", str(MAX_STEPS), "--trainer.val_check_interval", "8"]
SMALL = [
    *("--model.network.width", "24", "--model.network.depth", "1", "--model.network.num_heads", "2"),
    *("-c", "data/demo.yaml", "-c", "trainer/debug.yaml", "--trainer.accelerator", "cpu"),
    *("--data.samples_per_rule", "30", "--data.global_batch_size", "8", "--data.eval_puzzles_per_rule", "4"),
    *("--data.eval_batch_size", "6"),
    *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
    *("--checkpoint_every_n_steps", "5"),
    *("--trainer.precision", "32-true"),  # on any CPU: runs are compared to the last digit
]
TINY = [*SMALL, *LENGTH]
BY_DEVICE = ["--trainer.precision", "null"]  # as it is where nobody says
FAMILIES = {
    "autoregressive": ["-c", "model/gpt2_tiny.yaml", "--model.network.dropout", "0.1", *TINY],
    "diffusion": ["-c", "model/sit_tiny.yaml", *TINY, "--model.method.sampling.num_steps", "2"],
}

SEARCH = {
    "base": " ".join(SMALL),
    "score": "nats_per_cell",
    "budget": {"trials": 2, "at_once": 2, "rungs": 2, "puzzles": 32},
    "families": {
        family: {"base": f"-c model/{model}.yaml",
                 "ranges": {"model.optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True}}}
        for family, model in (("autoregressive", "gpt2_tiny"), ("diffusion", "mdm_tiny"))
    },
}  # fmt: skip
"""Of ``genraven tune``: in each of two families two trials end the first rung, and one of them the second."""


def fit(run: Path, *more: str, family: str = "autoregressive") -> list[str]:
    """The command of a tiny run."""
    return ["fit", *FAMILIES[family], "--run_dir", str(run), *more]


def fault(name: str, **settings: Any) -> list[str]:
    """Options that add a fault of faults.py."""
    options = [f"--trainer.callbacks+=faults.{name}"]
    return [*options, *(f"--trainer.callbacks.{key}={value}" for key, value in settings.items())]


def steps(run: Path) -> list[int]:
    """Steps of the checkpoints of a run."""
    return sorted(int(path.stem.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*.ckpt"))


def last_state(run: Path) -> dict[str, Any]:
    """The newest checkpoint of a run."""
    return torch.load(max((run / "checkpoints").glob("step-*.ckpt")), weights_only=True)


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of all curves but those of speed and cost, as TensorBoard shows them.

    It reads the starts of a run in the order of their files' names, which end with a second, host, process and count:
    of two starts by one process in one second the 10th would come before the 9th. So they are made one file, in order.
    """
    starts = sorted((run / "tensorboard").glob("events.*"), key=lambda path: _second_and_count(path.name.split(".")))
    with tempfile.NamedTemporaryFile(prefix="events.out.tfevents.") as whole:
        whole.write(b"".join(path.read_bytes() for path in starts))
        whole.flush()
        events = EventAccumulator(whole.name, size_guidance={"scalars": 0})
        events.Reload()
    names = [
        name for name in events.Tags()["scalars"] if name != "train/puzzles_per_s" and not name.startswith("cost/")
    ]
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in names}


def _second_and_count(parts: list[str]) -> tuple[int, int]:
    return int(parts[3]), int(parts[-1])


def assert_same_run(one: Path, other: Path) -> None:
    """The same step, weights, averages and moments of the optimizer to the last bit, and the same curves."""
    a, b = last_state(one), last_state(other)
    assert a["global_step"] == b["global_step"]
    for key in ("state_dict", "current_model_state", "optimizer_states"):
        x, y = (torch.utils._pytree.tree_flatten(state.get(key)) for state in (a, b))
        assert x[1] == y[1]
        for left, right in zip(x[0], y[0], strict=True):
            assert torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right
    assert curves(one) == curves(other)


def leftovers(run: Path) -> list[str]:
    """Temporary files of a run."""
    return [path.name for path in run.rglob(".*")]
