"""Every sampler with every process, against distributions whose denoiser is known exactly."""

import math

import pytest
import torch
from exact import DOUBLE, MEANS, PAIRS, PROCESSES, STDS, WEIGHTS, gaussian, mixture, normal, seeded, usable
from torch import Tensor

from genraven.errors import InputError
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.gaussian.process import NetworkDenoiser, Prediction, Process
from genraven.methods.gaussian.samplers import SAMPLERS, sample_ancestral, sample_euler, sample_heun
from genraven.methods.gaussian.schedules import uniform_times

ORDERS = {"euler": 1, "ddim": 1, "heun": 2, "dpmpp_2m": 2}
FLOW = Flow()


@pytest.mark.parametrize(("process", "name"), PAIRS)
def test_recovers_a_mixture(process: str, name: str) -> None:
    n, p = 20_000, PROCESSES[process]
    num_steps = {("ddpm", "ancestral"): 500, ("ddpm", "dpmpp_2m"): 100}.get(
        (process, name), 40 if ORDERS.get(name) == 2 else 250
    )
    start = p.initial(normal(0, n, 1, 1, 2))
    times = p.times(num_steps).to(DOUBLE)
    samples = SAMPLERS[name].sample(p, mixture(p), start, times, generator=seeded(1)).flatten(1)

    mean = WEIGHTS @ MEANS
    centred = MEANS - mean
    covariance = centred.T @ (WEIGHTS.unsqueeze(1) * centred) + (WEIGHTS @ STDS**2) * torch.eye(2)
    assert torch.allclose(samples.mean(0), mean, atol=0.055)  # four standard errors
    assert torch.allclose(samples.T.cov(), covariance, atol=0.07)

    nearest = torch.cdist(samples, MEANS).argmin(1)
    assert nearest.bincount().double().div(n).tolist() == pytest.approx(WEIGHTS.tolist(), abs=0.013)
    for k in range(2):
        mode = samples[nearest == k]
        assert torch.allclose(mode.mean(0), MEANS[k], atol=0.03)
        assert mode.std(0).tolist() == pytest.approx([STDS[k].item()] * 2, abs=0.03)


def grid(process: str, num_steps: int) -> Tensor:
    """Times that stop where noise is left, so that no last step to the data, of first order, is among them."""
    if process == "ddpm":
        return torch.linspace(1000, 200, num_steps + 1, dtype=DOUBLE) / 1000
    if process == "edm":
        return torch.linspace(80 ** (1 / 7), 0.1 ** (1 / 7), num_steps + 1, dtype=DOUBLE) ** 7
    return torch.linspace(1, 0.1, num_steps + 1, dtype=DOUBLE)


@pytest.mark.parametrize("to_the_data", [False, True])
@pytest.mark.parametrize(("process", "name"), [pair for pair in PAIRS if pair[1] in ORDERS])
def test_error_falls_with_the_order_of_the_solver(process: str, name: str, to_the_data: bool) -> None:
    p, mean, std = PROCESSES[process], torch.tensor([1.5], dtype=DOUBLE), 0.5
    denoiser = gaussian(p, mean, torch.full((1, 1), std**2, dtype=DOUBLE))
    errors = []
    for num_steps in (50, 100, 200, 400) if process != "ddpm" else (25, 50, 100, 200):
        times = p.times(num_steps).to(DOUBLE) if to_the_data else grid(process, num_steps)
        start = p.initial(torch.linspace(-3, 3, 61, dtype=DOUBLE).view(-1, 1, 1, 1))
        # The ODE keeps every point's distance from the mean in units of the path's own standard deviation.
        spread = (p.alpha(times) ** 2 * std**2 + p.sigma(times) ** 2).sqrt()
        centre = p.alpha(times) * mean
        exact = centre[-1] + spread[-1] / spread[0] * (start - centre[0])
        errors.append((SAMPLERS[name].sample(p, denoiser, start, times) - exact).abs().max().item())
    assert errors[-1] < 0.03
    order = math.log2(errors[-3] / errors[-1]) / 2
    wanted = ORDERS[name]
    if to_the_data and name == "dpmpp_2m":  # its last step, in DDPM's time also the path, is of first order
        assert order > 1.3 if process == "flow" else order > 0.5
    else:
        assert order == pytest.approx(wanted, abs=0.13)


@pytest.mark.parametrize("process", PROCESSES)
def test_a_sampler_that_its_process_cannot_use_is_an_error(process: str) -> None:
    p = PROCESSES[process]
    forbidden = SAMPLERS.keys() - set(usable(p))
    assert forbidden == {"flow": set(), "edm": {"flow_sde"}, "ddpm": {"euler", "heun", "flow_sde"}}[process]
    for name in forbidden:
        with pytest.raises(
            InputError, match=f"that {type(p).__name__} can use, one of {', '.join(usable(p))}, got {name}"
        ):
            SAMPLERS[name].sample(p, mixture(p), torch.zeros(1, 1, 1, 2, dtype=DOUBLE), p.times(2).to(DOUBLE))


def test_a_process_known_at_its_steps_only_has_no_velocity() -> None:
    with pytest.raises(InputError, match="use another sampler, such as ancestral"):
        Ddpm().velocity(torch.zeros(1), torch.zeros(1), torch.tensor(0.5))


@pytest.mark.parametrize("process", ["flow", "edm"])
def test_on_a_path_straight_in_time_ddim_is_euler(process: str) -> None:
    p = PROCESSES[process]
    start, times = p.initial(normal(0, 50, 1, 1, 2)), p.times(20).to(DOUBLE)
    one, other = (SAMPLERS[name].sample(p, mixture(p), start, times) for name in ("ddim", "euler"))
    assert torch.allclose(one, other, atol=1e-12)


def test_the_ancestral_step_is_the_posterior_by_bayes_rule() -> None:
    generator = seeded(3)
    for p, t, s in ((Ddpm(), 0.4, 0.3), (FLOW, 1.0, 0.9), (FLOW, 0.4, 0.3), (PROCESSES["edm"], 3.0, 1.0)):
        t, s = torch.tensor([t, s], dtype=DOUBLE)
        x0, x = torch.randn(2, 5, dtype=DOUBLE, generator=generator)
        ratio = p.alpha(t) / p.alpha(s)
        step = p.sigma(t) ** 2 - ratio**2 * p.sigma(s) ** 2  # x_t = ratio x_s + sqrt(step) noise
        precision = 1 / p.sigma(s) ** 2 + ratio**2 / step
        mean, variance = p.step_back(x, x0, t, s)
        assert torch.allclose(variance, 1 / precision)
        assert torch.allclose(mean, (p.alpha(s) * x0 / p.sigma(s) ** 2 + ratio * x / step) / precision)
        upper = p.step_back(x, x0, t, s, torch.ones(5, dtype=DOUBLE))[1]
        middle = p.step_back(x, x0, t, s, torch.full((5,), 0.5, dtype=DOUBLE))[1]
        assert torch.allclose(upper, step.expand(5))
        assert torch.allclose(middle, (step / precision).sqrt().expand(5))


def test_a_learned_variance_is_used() -> None:
    class Wide:
        def __call__(self, x: Tensor, t: Tensor) -> Tensor:
            return self.predict(x, t).x0

        def predict(self, x: Tensor, t: Tensor) -> Prediction:
            return Prediction(torch.zeros_like(x), torch.ones_like(x))

    p, x = Ddpm(), normal(0, 100_000, 1, 1, 1)
    times = torch.tensor([0.002, 0.001], dtype=DOUBLE)
    narrow = sample_ancestral(p, lambda x, t: torch.zeros_like(x), 0 * x, times, generator=seeded(0))
    wide = sample_ancestral(p, Wide(), 0 * x, times, generator=seeded(0))
    beta = 1e-4 + (0.02 - 1e-4) / 999
    posterior = beta * 1e-4 / (1 - (1 - beta) * (1 - 1e-4))
    assert narrow.std().item() == pytest.approx(posterior**0.5, rel=0.01)
    assert wide.std().item() == pytest.approx(beta**0.5, rel=0.01)


def evaluations(sampler: object, process: Process, num_steps: int) -> list[float]:
    seen: list[float] = []

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        seen.append(round(float(t), 4))
        return torch.zeros_like(x)

    assert callable(sampler)
    sampler(process, denoiser, torch.zeros(1, 1, 1, 1), process.times(num_steps))
    return seen


def test_evaluations_of_a_step() -> None:
    assert evaluations(sample_euler, FLOW, 4) == [1.0, 0.75, 0.5, 0.25]
    assert evaluations(sample_heun, FLOW, 4) == [1.0, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25]
    for name in ("ddim", "ancestral", "dpmpp_2m", "dpmpp_2m_sde"):
        assert evaluations(SAMPLERS[name].sample, Ddpm(), 4) == [1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize("num_steps", [1, 7, 50])
def test_times_go_evenly_from_noise_to_data(num_steps: int) -> None:
    times = uniform_times(num_steps)
    assert times.tolist() == pytest.approx([1 - i / num_steps for i in range(num_steps + 1)], abs=1e-6)
    assert (times[0], times[-1]) == (1, 0)  # exactly: the last step must end on the data


def test_default_grids() -> None:
    sigmas = PROCESSES["edm"].times(18)
    by_hand = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    assert sigmas.tolist() == pytest.approx([*by_hand, 0.0], rel=1e-5)
    assert PROCESSES["edm"].times(1).tolist() == [80.0, 0.0]
    assert (Ddpm().times(4) * 1000).tolist() == [1000, 750, 500, 250, 0]
    steps = (Ddpm().times(300).double() * 1000).round()
    assert (steps[0], steps[-1], len(set(steps.tolist()))) == (1000, 0, 301)
    assert (Ddpm().times(1000) * 1000).round().tolist() == list(range(1000, -1, -1))
    with pytest.raises(InputError, match="at most 1000 sampling steps"):
        Ddpm().times(1001)
    for process in PROCESSES.values():
        with pytest.raises(InputError, match="1 sampling step or more, got 0"):
            process.times(0)


def test_times_gather_near_the_data_where_asked() -> None:
    assert Flow(spacing=2.0).times(4).tolist() == [1, 0.5625, 0.25, 0.0625, 0]
    assert (Ddpm(spacing=2.0).times(4) * 1000).round().tolist() == [1000, 562, 250, 62, 0]
    for spacing in (0.3, 2.0, 5.0):
        for num_steps in (1, 7, 12, 250, 1000):
            steps = (Ddpm(spacing=spacing).times(num_steps).double() * 1000).round()
            assert steps[0] == 1000
            assert steps[-1] == 0
            assert (steps[:-1] > steps[1:]).all()
    reaching = Ddpm(spacing=2.0, last_time=0.04)
    assert (reaching.times(3) * 1000).round().tolist() == [1000, 360, 40, 0]  # between them ((1 + 0.2) / 2)^2
    assert reaching.times(1).tolist() == [1, 0]
    assert len(set(reaching.times(1000).tolist())) == 1001
    for process in (Flow, Ddpm):
        with pytest.raises(InputError, match="expected process.spacing to be a finite number above 0, got 0"):
            process(spacing=0.0)
        with pytest.raises(InputError, match="expected process.spacing to be a finite number above 0, got inf"):
            process(spacing=math.inf)
    with pytest.raises(InputError, match="that tells the times of 50 steps apart, got 30.0: choose a smaller one"):
        Flow(spacing=30.0).times(50)
    assert Flow(spacing=20.0).times(50)[-2] > 0
    for time in (0.0, 1.0):
        with pytest.raises(InputError, match="expected process.last_time between 0 and 1, got"):
            Ddpm(last_time=time)


@pytest.mark.parametrize("process", PROCESSES)
def test_noise_is_drawn_only_where_the_data_are_as_loud(process: str) -> None:
    """Before, dpmpp_2m_sde is dpmpp_2m; after, its noise has the variance of the posterior."""
    p = PROCESSES[process]
    times = p.times(50).to(DOUBLE)
    num_loud = int((p.sigma(times) > p.alpha(times)).sum())
    assert 2 < num_loud < 48
    loud, later = times[: num_loud + 1], times[num_loud : num_loud + 2]
    start = p.initial(normal(0, 1000, 1, 1, 2))
    without, with_noise = (SAMPLERS[name].sample(p, mixture(p), start, loud) for name in ("dpmpp_2m", "dpmpp_2m_sde"))
    assert torch.equal(without, with_noise)

    x = normal(1, 100_000, 1, 1, 1)
    stepped = SAMPLERS["dpmpp_2m_sde"].sample(p, lambda x, t: torch.zeros_like(x), x, later, generator=seeded(2))
    mean, variance = p.step_back(x, torch.zeros_like(x), *later)
    noise = (stepped - mean) / variance.sqrt()
    assert noise.mean().item() == pytest.approx(0, abs=0.015)
    assert noise.std().item() == pytest.approx(1, abs=0.01)


def test_a_second_estimate_makes_few_noisy_steps_nearer_to_the_data() -> None:
    """Of a Gaussian, from where data are as loud as noise: the spread of 20 steps, beside that of ancestral ones."""
    std = 0.5
    denoiser = gaussian(FLOW, torch.zeros(1, dtype=DOUBLE), torch.full((1, 1), std**2, dtype=DOUBLE))
    times = torch.linspace(0.5, 0.1, 21, dtype=DOUBLE)
    spread = ((1 - times) ** 2 * std**2 + times**2).sqrt()
    start = spread[0] * normal(0, 200_000, 1, 1, 1)
    off = {
        name: abs(
            SAMPLERS[name].sample(FLOW, denoiser, start, times, generator=seeded(1)).std().item() - spread[-1].item()
        )
        for name in ("ancestral", "dpmpp_2m_sde")
    }
    assert off["ancestral"] > 0.01
    assert off["dpmpp_2m_sde"] < off["ancestral"] / 3


@pytest.mark.parametrize(("process", "name"), PAIRS)
def test_the_start_is_left_as_it_was_and_the_generator_decides(process: str, name: str) -> None:
    p = PROCESSES[process]
    noise = torch.ones(2, 1, 1, 2, dtype=DOUBLE)
    one, same, other = (
        SAMPLERS[name].sample(
            p, mixture(p), noise, p.times(12).to(DOUBLE), project=lambda x, t: x, generator=seeded(seed)
        )
        for seed in (0, 0, 1)
    )
    assert torch.equal(noise, torch.ones_like(noise))
    assert torch.equal(one, same)
    assert torch.equal(one, other) == (name in ORDERS)
    assert one.isfinite().all() and one.dtype == DOUBLE


@pytest.mark.parametrize(("process", "name"), PAIRS)
def test_single_precision_and_one_step(process: str, name: str) -> None:
    """One step ends at the estimate of x0, whatever the sampler."""
    p = PROCESSES[process]
    x = p.initial(torch.ones(2, 1, 1, 2))
    out = SAMPLERS[name].sample(p, lambda x, t: torch.full_like(x, 0.25), x, p.times(1))
    assert out.dtype == torch.float32
    assert torch.allclose(out, torch.full_like(x, 0.25), atol=1e-4)


@pytest.mark.parametrize("process", PROCESSES)
def test_guidance_of_labels_goes_beyond_the_labelled_estimate(process: str) -> None:
    p = PROCESSES[process]
    learned = process == "ddpm"

    def network(x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        out = 0.3 * x if labels is None else 0.1 * x + labels.view(-1, 1, 1, 1)
        return torch.cat([out, out], 1) if learned else out

    x, labels, t = normal(0, 4, 3, 2, 2), torch.arange(4), p.times(10)[4]
    free, labelled, twice = (
        p.denoiser(network, *arguments).predict(x, t) for arguments in ((), (labels, 1.0), (labels, 2.0))
    )
    assert isinstance(p.denoiser(network), NetworkDenoiser)
    assert torch.allclose(twice.x0, 2 * labelled.x0 - free.x0)
    assert not torch.allclose(labelled.x0, free.x0)
    if learned:
        assert torch.equal(twice.fraction, labelled.fraction)
