from typing import Any

import pytest
import torch
from plain import recurrence
from torch import Tensor

from genraven.networks import selective_scan as module
from genraven.networks.selective_scan import CHUNK, selective_scan

torch.set_num_threads(1)
LENGTHS = [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 82]


def arguments(length: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """x, delta, a, b, c and state for 2 sequences, 5 channels of 4 states; steps from tiny to forgetting all."""
    draws = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draws, dtype=torch.float64)

    delta = (2 * normal(2, length, 5) - 2).exp()
    tensors = [normal(2, length, 5), delta, -normal(4, 5).exp(), normal(2, length, 4), normal(2, length, 4)]
    return [t.to(dtype).requires_grad_() for t in (*tensors, normal(2, 4, 5))]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("from_state", [False, True])
def test_scan_and_its_gradients_are_those_of_the_recurrence(length: int, from_state: bool) -> None:
    args = arguments(length)
    if not from_state:
        args[-1] = torch.zeros_like(args[-1])
    ours = selective_scan(*args) if from_state else selective_scan(*args[:-1])
    expected = recurrence(*args)
    given = [t for t in args if t.requires_grad]
    weights = [torch.randn_like(t) for t in expected]
    gradients = [
        torch.autograd.grad(sum((w * t).sum() for w, t in zip(weights, outputs, strict=True)), given)
        for outputs in (ours, expected)
    ]
    for mine, theirs in zip((*ours, *gradients[0]), (*expected, *gradients[1]), strict=True):
        assert (mine - theirs).abs().max() < 1e-10 * (1 + theirs.abs().max())


def test_gradients_where_only_the_outputs_or_only_the_state_matter() -> None:
    args = arguments(CHUNK + 2)
    for which in (0, 1):
        # The last position is not read from through c when the state alone matters.
        given = args if which == 0 else [args[i] for i in (0, 1, 2, 3, 5)]
        mine = torch.autograd.grad(selective_scan(*args)[which].square().sum(), given)
        theirs = torch.autograd.grad(recurrence(*args)[which].square().sum(), given)
        assert all(torch.allclose(m, t, rtol=1e-9, atol=1e-9) for m, t in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("from_state", [False, True])
def test_what_a_compiler_is_promised_of_the_operation_holds(from_state: bool) -> None:
    """Shapes, strides and gradients, also where the decays are a transposed view, as Mamba's are."""
    x, delta, a, b, c, state = (t.detach() for t in arguments(CHUNK + 2))
    given = [x, delta, a.T.contiguous().T, b, c, state if from_state else None]
    for each in given:
        if each is not None:
            each.requires_grad_()
    torch.library.opcheck(module._one_operation, tuple(given))
    starts = torch.zeros(2, *state.shape, dtype=x.dtype)
    plain = [None if each is None else each.detach() for each in given]
    torch.library.opcheck(
        module._one_operation_back,
        (x.detach(), state.detach(), *plain, starts),
        test_utils=("test_schema", "test_faketensor"),
    )


def test_extreme_steps_give_finite_numbers() -> None:
    args = arguments(82, torch.float32)
    with torch.no_grad():
        args[1][:, ::3] = 1e4  # forgets all at once
        args[1][:, 1::3] = 1e-8
        args[2].fill_(-16.0)
    y, state = selective_scan(*args)
    y.sum().backward()
    assert all(t.isfinite().all() for t in (y, state, *(t.grad for t in args)))
    exact, _ = recurrence(*(t.detach().double() for t in args))
    assert torch.allclose(y.double(), exact, rtol=1e-4, atol=1e-4 * float(exact.abs().max()))


def test_the_scan_keeps_single_precision_inside_autocast_and_for_halves() -> None:
    args = [t.detach() for t in arguments(40, torch.float32)]
    expected = selective_scan(*args)
    with torch.autocast("cpu", torch.bfloat16):
        inside = selective_scan(*args)
    assert all(torch.equal(a, b) for a, b in zip(inside, expected, strict=True))
    halves = [t.bfloat16() for t in args]
    y, state = selective_scan(*halves)
    assert y.dtype == state.dtype == torch.float32
    assert torch.equal(y, selective_scan(*(t.float() for t in halves))[0])


def selective_scan_fn(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, **settings: Any) -> tuple[Tensor, ...]:
    """The signature and layouts of mamba_ssm.ops.selective_scan_interface: channels before positions, A (D, N)."""
    assert settings == {"return_last_state": True}
    assert all(t.is_contiguous() and t.dtype == torch.float32 for t in (u, delta, A, B, C))
    x, step, b, c = (t.transpose(1, 2) for t in (u, delta, B, C))
    y, state = recurrence(x, step, A.T, b, c, u.new_zeros(len(u), A.shape[1], A.shape[0]))
    return y.transpose(1, 2), state.transpose(1, 2)


def test_the_kernel_is_called_with_its_own_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    args = arguments(30, torch.float32)[:-1]
    expected = selective_scan(*args)
    called = []
    monkeypatch.setattr(module, "kernel", lambda device: called.append(device) or selective_scan_fn)
    ours = selective_scan(*args)
    assert called == ["cpu"]
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(ours, expected, strict=True))
    selective_scan(*args, torch.zeros(2, 4, 5))  # the kernel starts from nothing
    selective_scan(*(t.double() for t in args))  # and knows no doubles
    assert called == ["cpu"]


@pytest.mark.gpu
def test_the_kernel_gives_the_same_numbers() -> None:
    pytest.importorskip("mamba_ssm", reason="the kernel is that of mamba_ssm")
    args = arguments(82, torch.float32)[:-1]
    cpu, gpu = selective_scan(*args), selective_scan(*(t.cuda() for t in args))
    assert all(torch.allclose(a, b.cpu(), rtol=1e-4, atol=1e-4) for a, b in zip(cpu, gpu, strict=True))
