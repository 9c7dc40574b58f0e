"""What all processes share."""

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
