"""What only a GPU can show: runs in bf16, compiled, whose steps of sampling are CUDA graphs."""

import copy
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from genraven.methods.autoregressive import Autoregressive
from genraven.methods.gaussian import GaussianDiffusion
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.masked import MaskedDiffusion
from genraven.methods.method import Method
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.compiling import compile_blocks
from genraven.networks.dit import DiT
from genraven.networks.mamba import Mamba
from genraven.networks.transformer import Transformer
from genraven.networks.unet import UNet
from genraven.puzzles.generate import generate
from launch.cli import main
from launch.trained.precision import default_precision

pytestmark = pytest.mark.gpu

MODELS: dict[str, Callable[[], tuple[nn.Module, Method]]] = {
    "gpt2_joint": lambda: (Transformer(width=48, depth=3, num_heads=2, head="joint"), Autoregressive()),
    "gpt2_separate": lambda: (Transformer(width=48, depth=3, num_heads=2), Autoregressive()),
    "mamba": lambda: (Mamba(width=48, depth=2, state_size=4), Autoregressive()),
    "mdm": lambda: (BidirectionalTransformer(width=48, depth=3, num_heads=2), MaskedDiffusion()),
    "flow": lambda: (DiT(width=48, depth=3, num_heads=2), GaussianDiffusion(Flow())),
    "ddpm": lambda: (DiT(width=48, depth=3, num_heads=2, out_channels=6), GaussianDiffusion(Ddpm())),
    "edm": lambda: (UNet(channels=16, multipliers=(1, 2), dropout=0.0), GaussianDiffusion(Edm())),
}


@pytest.fixture
def _in_double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("_in_double")
@pytest.mark.parametrize("name", MODELS)
def test_cuda_graphs_write_what_eager_steps_write(name: str) -> None:
    """In float64, where rounding turns no draw; the second call replays what the first has captured."""
    torch.manual_seed(0)
    network, method = MODELS[name]()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    network = network.cuda().eval()
    quick = copy.deepcopy(network)
    compile_blocks(quick)
    sampling = method.sampling
    given = torch.cat([generate(rule, 0, 4) for rule in range(4)]).cuda()
    mask = torch.zeros(len(given), 9, 9, dtype=torch.bool, device="cuda")
    mask[:, 6:, 6:] = True

    def written(part: nn.Module, seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator("cuda").manual_seed(seed)
        with torch.no_grad():
            return (method.generate(part, 16, None, sampling, generator).cpu(),
                    method.complete(part, given, mask, sampling, generator).cpu())  # fmt: skip

    for seed in (1, 2, 3):
        for slow, fast in zip(written(network, seed), written(quick, seed), strict=True):
            assert torch.equal(slow, fast)
            assert len(slow.unique(dim=0)) == len(slow)


@pytest.mark.parametrize("name", ["gpt2", "mamba", "mdm", "sit", "sit_onehot", "dit", "edm"])
def test_a_run_learns_goes_on_and_is_scored(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit = ["fit", "-c", f"model/{name}_tiny.yaml", "-c", "data/demo.yaml", "-c", "trainer/gpu.yaml",
           "--data.samples_per_rule", "200", "--data.eval_puzzles_per_rule", "8", "--trainer.val_check_interval", "30",
           "--trainer.log_every_n_steps", "5", "--run_dir", str(run)]  # fmt: skip
    assert main([*fit, "--trainer.max_steps", "60"]) == 0
    assert main([*fit, "--trainer.max_steps", "120"]) == 0
    summary = json.loads((run / "summary.json").read_text())
    assert summary["step"] == 120
    with (run / "curve.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0]
    checkpoint = torch.load(max((run / "checkpoints").glob("step-*.ckpt")), weights_only=True)
    assert checkpoint["numerics"] == {"precision": default_precision("gpu"), "tf32": True, "compiled": True}
    assert main(["evaluate", str(run), "--puzzles-per-rule", "8"]) == 0
    assert torch.cuda.get_device_name() in (run / "evaluation.json").read_text()
    assert main(["sample", str(run), "--num", "6"]) == 0


@pytest.mark.parametrize("name", ["gpt2", "mamba", "mdm", "sit", "dit", "relational_mdm"])
def test_recorded_steps_learn_what_steps_of_the_same_kernels_learn(name: str, tmp_path: Path) -> None:
    """With averages, clipping, and validations on averaged weights between."""
    losses = []
    for compilation in ("network", "graph"):
        run = tmp_path / compilation
        assert main(["fit", "-c", f"model/{name}_tiny.yaml", "-c", "data/demo.yaml", "-c", "trainer/gpu.yaml",
                     "--data.samples_per_rule", "200", "--data.eval_puzzles_per_rule", "4", "--compile", compilation,
                     "--trainer.val_check_interval", "20", "--trainer.log_every_n_steps", "5",
                     "--trainer.max_steps", "60", "--run_dir", str(run)]) == 0  # fmt: skip
        assert json.loads((run / "summary.json").read_text())["compile"] == compilation
        with (run / "curve.csv").open() as file:
            losses.append([float(row["train/loss"]) for row in csv.DictReader(file)])
    assert len(losses[0]) == 3
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


@pytest.mark.parametrize("name", ["gpt2_joint", "mamba", "mdm"])
def test_ten_validations_record_no_graph_anew(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = []

    class Counted(torch.cuda.CUDAGraph):
        def capture_begin(self, *args: object, **kwargs: object) -> None:
            recorded.append(1)
            super().capture_begin(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Counted)
    network, method = MODELS[name]()
    network = network.cuda().eval()
    compile_blocks(network)
    others, after = [], []
    for seed in range(10):
        others.append(torch.empty(1 << 10 + seed, device="cuda"))  # memory is not where it was
        with torch.inference_mode():
            method.generate(network, 16, None, method.sampling, torch.Generator("cuda").manual_seed(seed))
        after.append(len(recorded))
    assert after[1] > 0  # the first call may warm up
    assert after[-1] == after[1]
