"""Where in a network a rule stands: a linear classifier of the rule on the hidden states of each layer.

N puzzles, L positions, D features, K rules.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.metrics.rates import Rate

Pool = Literal["mean", "last"]
INPUT = "input"
Features = dict[tuple[str, Pool], Tensor]  # of a layer, and how its positions became one: (N, D)


@contextmanager
def hidden_states(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """What each pass of ``network`` leaves in the block: (N, L, D) by layer, in the order in which they run.

    The layers are what the first of its ``layers``, or else ``blocks``, reads, named ``input``, and what each returns,
    by its name in the network. Fields (N, D, S, S) become S * S positions, and whatever stands between the puzzles and
    the features (N, ..., D) is positions, too.
    """
    seen: dict[str, Tensor] = {}
    names = {module: name for name, module in network.named_modules()}

    def keep(name: str, hidden: Tensor) -> None:
        hidden = hidden.detach()
        if hidden.ndim == 4:
            hidden = hidden.flatten(2).transpose(1, 2)
        seen[name] = hidden.flatten(1, -2)

    blocks: list[nn.Module] = list(getattr(network, "layers", None) or network.blocks)  # type: ignore[arg-type]
    hooks = [blocks[0].register_forward_pre_hook(lambda _, inputs: keep(INPUT, inputs[0]))]
    for block in blocks:
        hooks.append(block.register_forward_hook(lambda _, __, out, name=names[block]: keep(name, out)))  # type: ignore[misc]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def pooled(hidden: Tensor, pool: Pool) -> Tensor:
    """(N, D) float32 from (N, L, D): the mean over the positions, or the last of them."""
    return (hidden.mean(1) if pool == "mean" else hidden[:, -1]).float()


def gather(
    network: nn.Module, probe_forward: Callable[[slice], None], slices: Iterable[slice], pools: tuple[Pool, ...]
) -> Features:
    """Features of all layers; ``probe_forward`` passes a slice of the puzzles through ``network``."""
    parts = defaultdict(list)
    with hidden_states(network) as seen:
        for part in slices:
            probe_forward(part)
            for name, hidden in seen.items():
                for pool in pools:
                    parts[name, pool].append(pooled(hidden, pool))
    return {key: torch.cat(found) for key, found in parts.items()}


def fit_linear(
    features: Tensor, classes: Tensor, num_classes: int, *, weight_decay: float = 1e-3, max_steps: int = 200
) -> Callable[[Tensor], Tensor]:
    """A linear classifier of ``features`` (N, D), by multinomial logistic regression with L-BFGS from zero weights.

    The problem is convex and nothing is drawn. Features are standardised by the mean and the deviation of those that
    are fitted; one that is constant counts for nothing.

    Args:
        features: (N, D) to fit.
        classes: (N,) int64, 0 .. ``num_classes`` - 1.
        num_classes: K.
        weight_decay: half of it times the squared weights is added to the mean cross-entropy in nats.
        max_steps: at most, of L-BFGS.

    Returns:
        The likeliest class (M,) of features (M, D).
    """
    deviation, mean = torch.std_mean(features, 0, correction=0)
    scale = torch.where(deviation > 1e-6 * mean.abs().clamp(min=1e-6), 1 / deviation, 0.0)
    x = (features - mean) * scale
    weight = x.new_zeros(num_classes, x.shape[1], requires_grad=True)
    bias = x.new_zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=max_steps, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = F.cross_entropy(F.linear(x, weight, bias), classes) + weight_decay / 2 * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[arg-type]
    return lambda new: F.linear((new - mean) * scale, weight.detach(), bias.detach()).argmax(1)


def accuracy(found: Tensor, rules: Tensor, of: Tensor) -> Rate:
    """How often ``found`` (M,) are the ``rules`` (M,), counted over the puzzles that ``of`` (M,) bool names."""
    return Rate(((found == rules) & of).sum(), of.sum())
