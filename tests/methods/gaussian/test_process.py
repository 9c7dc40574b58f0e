"""What all processes share."""

import itertools

import pytest
import torch

from genraven.errors import InputError
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.gaussian.process import Process


@pytest.mark.parametrize("process", [Flow(), Edm(), Ddpm()], ids=["flow", "edm", "ddpm"])
@pytest.mark.parametrize("ratio", [0.1, 0.3, 1.0, 5.0])
def test_the_time_of_a_noise_level(process: Process, ratio: float) -> None:
    t = process.time_of_noise(ratio)
    assert t.shape == ()
    assert float(process.sigma(t) / process.alpha(t)) == pytest.approx(ratio, rel=0.05)


def test_where_the_time_is_known() -> None:
    assert float(Flow().time_of_noise(1.0)) == pytest.approx(0.5, rel=0.01)
    assert float(Edm().time_of_noise(0.3)) == pytest.approx(0.3, rel=0.01)


def test_noise_that_a_process_never_has() -> None:
    with pytest.raises(InputError, match="Ddpm has a time for, got 0.001; the nearest is 0.01"):
        Ddpm().time_of_noise(0.001)
    with pytest.raises(InputError, match="got 100; the nearest is 80"):
        Edm().time_of_noise(100)
    assert torch.isfinite(Flow().time_of_noise(1e3))


@pytest.mark.parametrize(("process", "num_steps"), [(Flow(spacing=4.0), 1000), (Edm(), 1000), (Ddpm(), 1000)])
def test_the_variance_of_small_steps_is_as_in_exact_arithmetic(process: Process, num_steps: int) -> None:
    """Nothing cancels: its logarithm is that of what the same times give in float64, and no variance is 0."""
    times = process.times(num_steps)[:-1]
    x = torch.zeros(1, 1, 1, 1)
    for t, s in itertools.pairwise(times):
        for fraction in (None, torch.full((1, 1, 1, 1), 0.5)):
            variance = process.step_back(x, x, t, s, fraction)[1]
            exact = process.step_back(x.double(), x.double(), t.double(), s.double(), fraction)[1]
            assert variance.double().log().item() == pytest.approx(exact.log().item(), abs=1e-5)
