"""Which precision a device is given, and what is said of one that it has no units for."""

from pathlib import Path

import pytest
import torch
from tiny import fit

from launch.cli import main
from launch.trained.model import load
from launch.trained.precision import default_precision, slow_precision

NO_UNITS = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni amx_tile\nbugs\t: bf16\n"
CPUS = {
    "processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 amx_tile\n\nprocessor\t: 1\nflags\t\t: fpu\n": {"bf16"},
    "processor\t: 0\nflags\t\t: fpu amx_bf16 avx512_fp16\n": {"bf16", "16"},
    NO_UNITS: set(),
    "processor\t: 0\nFeatures\t: fp asimd sve i8mm bf16 asimdhp\n": {"bf16", "16"},
    "processor\t: 0\nFeatures\t: fp asimd svebf16x\n": set(),
    "processor\t: 0\nflags\t\t:\n": set(),
    "": set(),
}
SILENT = list(CPUS)[-2:]
"""Which say nothing, so that nothing is said of them."""


def write_cpu_info(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "cpuinfo").write_text(text)
    monkeypatch.setattr("launch.trained.precision.CPU_INFO", folder / "cpuinfo")


@pytest.mark.parametrize(
    ("accelerator", "has_gpu", "has_bf16", "precision"),
    [
        ("gpu", True, True, "bf16-mixed"),
        ("auto", True, True, "bf16-mixed"),
        ("gpu", True, False, "32-true"),
        ("auto", True, False, "32-true"),
        ("cpu", True, True, "32-true"),
        ("auto", False, True, "32-true"),
        ("mps", False, True, "32-true"),
    ],
)
def test_bf16_where_the_device_has_it(
    accelerator: str,
    has_gpu: bool,
    has_bf16: bool,
    precision: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16 or including_emulation)
    write_cpu_info(NO_UNITS, tmp_path, monkeypatch)
    assert default_precision(accelerator) == precision
    is_slow = slow_precision("bf16-true", accelerator, "x") is not None
    assert is_slow == (precision == "32-true" and accelerator != "mps")
    assert slow_precision("32-true", accelerator, "x") is None


@pytest.mark.parametrize(("cpu_info", "units"), CPUS.items())
def test_a_cpu_says_what_it_multiplies(
    cpu_info: str, units: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cpu_info(cpu_info, tmp_path, monkeypatch)
    assert default_precision("cpu") == ("bf16-mixed" if "bf16" in units else "32-true")
    for kind in ("bf16", "16"):
        assert (slow_precision(f"{kind}-mixed", "cpu", "x") is None) == (kind in units or cpu_info in SILENT)


def test_without_a_file_of_the_cpu_it_trains_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch.trained.precision.CPU_INFO", tmp_path / "none")
    assert default_precision("cpu") == "32-true"


def test_a_user_hears_that_a_precision_is_slow_here(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cpu_info(NO_UNITS, in_tmp_path, monkeypatch)
    slow = "bf16-mixed is slow on this CPU, which has no units for it: "
    assert main(fit(in_tmp_path / "run", "--trainer.max_steps", "1", "--trainer.precision", "bf16-mixed")) == 0
    assert f"genraven: warning: {slow}--trainer.precision 32-true is faster.\n" in capsys.readouterr().err
    assert main(fit(in_tmp_path / "run", "--trainer.max_steps", "2", "--trainer.precision", "bf16-mixed")) == 0
    assert f"genraven: warning: {slow[:-2]}.\n" in capsys.readouterr().err  # a run that has begun keeps its precision
    assert main(["sample", "run", "--num", "1", "--out", "a.npy"]) == 0
    assert (
        f"genraven: warning: {slow}--precision 32-true is faster. A calibration holds for its own precision only.\n"
        in capsys.readouterr().err
    )
    with pytest.warns(UserWarning, match=f"{slow}precision='32-true' is faster"):
        load("run")
    capsys.readouterr()
    instead = "--trainer.precision 32-true in a copy of whole.yaml is faster."
    for name, says in (("between", []), ("whole", [f"{slow}{instead}"])):  # the first is in float32
        assert main(["sweep", f"sweep/{name}.yaml", "--tier", "first", "--local", "1", "--dry-run"]) == 0
        assert [line for line in capsys.readouterr().err.splitlines() if "slow" in line] == says
