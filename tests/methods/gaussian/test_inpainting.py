import pytest
import torch
from exact import DOUBLE, PAIRS, PROCESSES, gaussian, normal, seeded, usable
from torch import Tensor

from genraven.errors import InputError
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.gaussian.inpainting import (
    GuidedDenoiser,
    complete_by_guidance,
    complete_by_replacement,
    complete_by_tds,
    replacement,
)
from genraven.methods.gaussian.samplers import SAMPLERS


def case() -> tuple[Tensor, Tensor, Tensor]:
    """Data, noise and open cells: some, none and all."""
    draws = torch.Generator().manual_seed(0)
    given, noise = torch.randn(2, 4, 3, 9, 9, generator=draws)
    open_cells = torch.rand(4, 1, 9, 9, generator=draws) < torch.tensor([0.1, 0.5, 0.0, 1.0]).view(-1, 1, 1, 1)
    return given, noise, open_cells


def pull(x: Tensor, t: Tensor) -> Tensor:
    """A denoiser that moves all cells and mixes them with their neighbours."""
    return 0.5 * x.roll(1, -1) - 0.2 * x + 0.1


def complete(how: str, process: str, name: str, given: Tensor, noise: Tensor, open_cells: Tensor) -> Tensor:
    p = PROCESSES[process]
    times = p.times(9)
    if how == "tds":
        return complete_by_tds(p, pull, given, open_cells, times, num_particles=3, generator=seeded(0))
    function = complete_by_guidance if how == "guidance" else complete_by_replacement
    return function(
        p, SAMPLERS[name].sample, pull, given, open_cells, noise, times,
        num_resamples=3 if how == "repaint" else 1, generator=seeded(0),
    )  # fmt: skip


WAYS = [
    *[("replacement", *pair) for pair in PAIRS],
    *[(how, p, usable(PROCESSES[p])[-1]) for p in PROCESSES for how in ("repaint", "guidance", "tds")],
]


@pytest.mark.parametrize(("how", "process", "name"), WAYS)
def test_given_cells_end_exactly_as_given_and_open_ones_do_not(how: str, process: str, name: str) -> None:
    given, noise, open_cells = case()
    sampled = complete(how, process, name, given, noise, open_cells)
    held = ~open_cells.expand_as(given)
    assert torch.equal(sampled[held], given[held])
    assert not torch.isclose(sampled[~held], given[~held], atol=1e-4).all()


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("num_resamples", [1, 3])
def test_given_cells_are_on_their_path_before_every_step(process: str, num_resamples: int) -> None:
    p, (given, noise, open_cells) = PROCESSES[process], case()
    held, noises = ~open_cells.expand_as(given), []

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        noises.append((x - p.alpha(t) * given)[held] / p.sigma(t))
        return pull(x, t)

    complete_by_replacement(
        p, SAMPLERS["ddim"].sample, denoiser, given, open_cells, noise, p.times(9),
        num_resamples=num_resamples, generator=seeded(1),
    )  # fmt: skip
    assert torch.allclose(noises[0], noise[held], atol=1e-4)
    for seen in noises:
        assert seen.std().item() == pytest.approx(1, abs=0.15)
        if num_resamples == 1:
            assert torch.allclose(seen, noise[held], atol=0.02)
    anew = [(after - before).abs().mean() > 0.5 for before, after in zip(noises[:-1], noises[1:], strict=True)]
    assert anew == [i % num_resamples > 0 for i in range(1, 9 * num_resamples)]  # at every return to the same time


@pytest.mark.parametrize(("how", "process", "name"), WAYS)
def test_what_is_under_the_mask_is_not_read(how: str, process: str, name: str) -> None:
    given, noise, open_cells = case()
    corrupted = given.masked_fill(open_cells, float("nan"))
    results = [complete(how, process, name, data, noise, open_cells) for data in (given, corrupted)]
    assert torch.equal(*results)
    assert results[1].isfinite().all()


def test_projection_is_the_forward_path() -> None:
    given, noise, open_cells = case()
    t = torch.tensor(0.25)
    held = ~open_cells.expand_as(given)
    projected = replacement(Flow(), given, noise, open_cells)(torch.zeros_like(given), t)
    assert torch.allclose(projected[held], (0.75 * given + 0.25 * noise)[held])
    assert not projected[~held].any()


# A Gaussian of three cells, the first of which is given: what the others should be is known exactly -----------------

MEAN = torch.tensor([0.3, -0.5, 0.2], dtype=DOUBLE)
ROOT = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [-0.5, 0.5, 0.7]], dtype=DOUBLE)
COVARIANCE = ROOT @ ROOT.T
GIVEN = 1.5
CONDITIONAL_COVARIANCE = COVARIANCE[1:, 1:] - torch.outer(COVARIANCE[1:, 0], COVARIANCE[0, 1:]) / COVARIANCE[0, 0]


def problem(num: int, value: float = GIVEN) -> tuple[Tensor, Tensor]:
    given, open_cells = torch.full((num, 1, 1, 3), value, dtype=DOUBLE), torch.ones(num, 1, 1, 3, dtype=torch.bool)
    open_cells[..., 0] = False
    return given, open_cells


def errors(samples: Tensor) -> tuple[float, float]:
    """Of the open cells' means and covariances."""
    value, cells = samples.flatten(1)[0, 0], samples.flatten(1)[:, 1:]
    mean = MEAN[1:] + COVARIANCE[1:, 0] / COVARIANCE[0, 0] * (value - MEAN[0])
    return (
        (cells.mean(0) - mean).abs().max().item(),
        (cells.T.cov() - CONDITIONAL_COVARIANCE).abs().max().item(),
    )


@pytest.mark.parametrize(
    ("process", "name"), [("flow", "euler"), ("flow", "flow_sde"), ("edm", "heun"), ("ddpm", "ddim")]
)
def test_resampling_and_guidance_come_close_to_the_exact_conditional(process: str, name: str) -> None:
    p, num = PROCESSES[process], 6000
    given, open_cells = problem(num)
    noise, times = normal(0, num, 1, 1, 3), p.times(50).to(DOUBLE)
    arguments = (p, SAMPLERS[name].sample, gaussian(p, MEAN, COVARIANCE), given, open_cells, noise, times)
    plain = errors(complete_by_replacement(*arguments, generator=seeded(1)))
    repaint = [errors(complete_by_replacement(*arguments, num_resamples=n, generator=seeded(1))) for n in (3, 10)]
    guided = [errors(complete_by_guidance(*arguments, guidance_strength=w, generator=seeded(1))) for w in (0, 1, 2)]
    both = errors(complete_by_guidance(*arguments, num_resamples=5, generator=seeded(1)))
    assert plain[0] > 0.25  # replacement alone is known not to be the conditional
    assert plain[0] > 2 * repaint[0][0] > 2 * repaint[1][0]
    assert repaint[1][0] < 0.08 and repaint[1][1] < 0.16  # that of 50 steps
    assert guided[0] == pytest.approx(plain)
    assert plain[0] > 1.3 * guided[1][0] > 1.3 * guided[2][0]
    assert both[0] < 0.06 and both[1] < 0.16


@pytest.mark.parametrize("process", PROCESSES)
def test_error_of_tds_falls_with_its_particles(process: str) -> None:
    p, found = PROCESSES[process], []
    for num_particles, num in ((1, 4000), (4, 4000), (32, 2000)):
        given, open_cells = problem(num)
        times = p.times(100).to(DOUBLE)
        samples = complete_by_tds(
            p, gaussian(p, MEAN, COVARIANCE), given, open_cells, times, num_particles=num_particles, generator=seeded(2)
        )
        found.append(errors(samples))
    means = [mean for mean, _ in found]
    assert means[0] > 0.2
    assert means[1] < means[0] / 2
    assert means[2] < 0.06  # three standard errors
    assert found[2][1] < 0.12


def test_tds_resamples_where_what_is_given_is_far_from_expected() -> None:
    """Without resampling, or with weights kept after it, the means are off by 0.21 or more."""
    p = PROCESSES["flow"]
    given, open_cells = problem(2000, value=4.0)
    samples = complete_by_tds(
        p,
        gaussian(p, MEAN, COVARIANCE),
        given,
        open_cells,
        p.times(100).to(DOUBLE),
        num_particles=32,
        generator=seeded(2),
    )
    assert errors(samples)[0] < 0.15


def test_guided_estimate_is_that_of_the_formula() -> None:
    given, open_cells = problem(5)
    for p in PROCESSES.values():
        x, t = p.initial(normal(3, 5, 1, 1, 3)), p.times(10)[5].to(DOUBLE)
        alpha, sigma = p.alpha(t), p.sigma(t)
        denoiser = gaussian(p, MEAN, COVARIANCE)
        x0 = denoiser(x, t)
        jacobian = alpha * COVARIANCE @ torch.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * torch.eye(3))
        residual = torch.zeros_like(x0)
        residual[..., 0] = GIVEN - x0[..., 0]
        guided = GuidedDenoiser(p, denoiser, given, open_cells, strength=0.7)(x, t)
        assert torch.allclose(guided, x0 + 0.7 * alpha * residual @ jacobian)


def test_guidance_works_inside_inference_mode_and_keeps_the_learned_variance() -> None:
    weight = torch.nn.Parameter(torch.tensor(0.4))

    def network(x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.cat([weight * x.roll(1, -1), weight * x], 1)

    p, (given, noise, open_cells) = Ddpm(), case()
    with torch.inference_mode():
        given, noise, open_cells, times = given + 0, noise + 0, open_cells & True, p.times(4)
        denoiser = p.denoiser(network)
        guided = GuidedDenoiser(p, denoiser, given, open_cells).predict(noise, times[1])
        assert torch.equal(guided.fraction, denoiser.predict(noise, times[1]).fraction)  # type: ignore[arg-type]
        for out in (
            complete_by_guidance(p, SAMPLERS["ancestral"].sample, denoiser, given, open_cells, noise, times),
            complete_by_tds(p, denoiser, given, open_cells, times, num_particles=2),
        ):
            assert out.isfinite().all() and not out.requires_grad
    assert weight.grad is None


def test_no_particles_and_no_resampling_are_errors() -> None:
    given, noise, open_cells = case()
    p = Flow()
    with pytest.raises(InputError, match="1 particle or more, got 0"):
        complete_by_tds(p, pull, given, open_cells, p.times(3), num_particles=0)
    for function in (complete_by_replacement, complete_by_guidance):
        with pytest.raises(InputError, match="1 resampling of each step or more, got 0"):
            function(p, SAMPLERS["euler"].sample, pull, given, open_cells, noise, p.times(3), num_resamples=0)
    with pytest.raises(InputError, match="strength of 0 or more, got -1"):
        complete_by_guidance(
            p, SAMPLERS["euler"].sample, pull, given, open_cells, noise, p.times(3), guidance_strength=-1
        )
