"""Attention written out against torch's own."""

import pytest
import torch
import torch.nn.functional as F

from genraven.networks.attention import attend


@pytest.mark.parametrize("causal", [False, True])
def test_in_bf16_it_is_what_torch_says(causal: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 9, 16, generator=generator)
    exact = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    written_out = attend(*(x.bfloat16() for x in (q, k, v)), causal=causal)
    assert written_out.dtype == torch.bfloat16
    assert torch.allclose(written_out.float(), exact, atol=2e-2)
    assert torch.equal(attend(q, k, v, causal=causal), exact)


def test_weights_are_dropped() -> None:
    torch.manual_seed(0)
    v = torch.eye(81).expand(40, 1, 81, 81).bfloat16()  # so that what comes out are the weights
    weights = attend(torch.zeros(40, 1, 81, 8).bfloat16(), torch.zeros(40, 1, 81, 8).bfloat16(), v, dropout=0.25)
    assert (weights == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert weights[weights != 0].float().mean().item() == pytest.approx(1 / 81 / 0.75, rel=0.02)
