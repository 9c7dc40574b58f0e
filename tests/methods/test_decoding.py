from collections import Counter
from itertools import pairwise, product

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from genraven.methods.decoding import decode, decode_particles, from_symbols, pick, to_symbols
from genraven.networks.cells import CellNetwork, Head
from genraven.networks.mamba import Mamba
from genraven.networks.transformer import Transformer
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.spec import NUM_STATES

torch.set_num_threads(1)
NUM = 6


def make(head: Head, dtype: torch.dtype = torch.float64, num_labels: int = 0) -> Transformer:
    """A small network whose logits depend strongly on what it reads."""
    torch.manual_seed(0)
    network = Transformer(width=24, depth=2, num_heads=4, head=head, num_labels=num_labels).to(dtype).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.requires_grad_(False)


def make_mamba(head: Head) -> Mamba:
    """Another small network of the same kind, with a cache that does not grow."""
    torch.manual_seed(0)
    network = Mamba(width=24, depth=2, state_size=4, head=head, embedding="joint").double().eval()
    for name, parameter in network.named_parameters():
        if not name.endswith(("log_a", "delta.bias", "norm.weight")):
            torch.nn.init.normal_(parameter, std=0.3)
    return network.requires_grad_(False)


def case(network: CellNetwork) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, open cells (all, none, the last panel, and at random) and uniforms."""
    draws = torch.Generator().manual_seed(1)
    tokens = layout.puzzles_to_tokens(torch.cat([generate(rule, 0, 1) for rule in (0, 8, 15, 29, 33, 38)]))
    open_cells = torch.rand(NUM, 81, generator=draws) < 0.4
    open_cells[0], open_cells[1], open_cells[2] = True, False, torch.arange(81) >= 72
    return tokens, open_cells, torch.rand(NUM, 81, len(network.head_sizes), generator=draws)


def naive(
    network: CellNetwork, tokens: Tensor, open_cells: Tensor, uniform: Tensor, labels: Tensor | None, temperature: float
) -> Tensor:
    """One puzzle, one cell at a time, each from the whole prefix."""
    result = tokens.clone()
    for b, i in open_cells.nonzero().tolist():
        logits = network(result[b : b + 1, :i].long() + 1, None if labels is None else labels[b : b + 1])[0, -1]
        symbols, first = [], 0
        for size, u in zip(network.head_sizes, uniform[b, i].tolist(), strict=True):
            odds = ((logits[first : first + size].double()) / temperature).exp()
            rest, symbol = u * odds.sum().item(), 0
            while rest >= odds[symbol]:
                rest, symbol = rest - odds[symbol].item(), symbol + 1
            symbols.append(symbol)
            first += size
        if len(symbols) == 3:
            cell = [-1, -1, -1] if 0 in symbols else [symbol - 1 for symbol in symbols]
        else:
            state = symbols[0] - 1
            cell = [-1, -1, -1] if state < 0 else [state // 100, state // 10 % 10, state % 10]
        result[b, i] = torch.tensor(cell)
    return result


@pytest.mark.parametrize("head", ["separate", "joint"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_cached_sampling_equals_sampling_from_the_whole_prefix(head: Head, dtype: torch.dtype) -> None:
    network = make(head, dtype)
    tokens, open_cells, uniform = case(network)
    sampled = decode(network, tokens, open_cells, uniform)
    assert sampled.dtype == torch.int8
    assert torch.equal(sampled, naive(network, tokens, open_cells, uniform, None, 1.0))
    assert not torch.equal(sampled[0], tokens[0])


@pytest.mark.parametrize("head", ["separate", "joint"])
def test_cached_sampling_with_a_state_of_constant_size(head: Head) -> None:
    network = make_mamba(head)
    tokens, open_cells, uniform = case(network)
    sampled = decode(network, tokens, open_cells, uniform)
    assert torch.equal(sampled, naive(network, tokens, open_cells, uniform, None, 1.0))
    assert not torch.equal(sampled[0], tokens[0])


def test_cached_sampling_with_labels_and_temperature() -> None:
    network = make("joint", num_labels=40)
    tokens, open_cells, uniform = case(network)
    labels = torch.tensor([0, 8, 15, 29, 33, 40])
    sampled = decode(network, tokens, open_cells, uniform, labels=labels, temperature=0.5)
    assert torch.equal(sampled, naive(network, tokens, open_cells, uniform, labels, 0.5))
    assert not torch.equal(sampled, decode(network, tokens, open_cells, uniform, temperature=0.5))


@pytest.mark.parametrize("head", ["separate", "joint"])
def test_given_cells_stay_and_what_is_under_the_mask_is_not_read(head: Head) -> None:
    network = make(head)
    tokens, open_cells, uniform = case(network)
    before = tokens.clone()
    sampled = decode(network, tokens, open_cells, uniform)
    assert torch.equal(sampled[~open_cells], tokens[~open_cells])
    assert torch.equal(tokens, before)
    garbage = torch.randint(-128, 128, tokens.shape, generator=torch.Generator().manual_seed(2)).to(torch.int8)
    corrupted = tokens.where(~open_cells.unsqueeze(-1), garbage)
    assert torch.equal(decode(network, corrupted, open_cells, uniform), sampled)


@pytest.mark.parametrize("first", [0, 1, 40, 80])
def test_garbage_under_a_mask_that_opens_late_is_not_read(first: int) -> None:
    network = make("separate")
    tokens, _, uniform = case(network)
    open_cells = (torch.arange(81) >= first).expand(NUM, -1).clone()
    open_cells[1:, first] = False  # the first open cell of one puzzle is a given one of the others
    corrupted = tokens.masked_fill(open_cells.unsqueeze(-1), 111)
    sampled = decode(network, tokens, open_cells, uniform)
    assert torch.equal(decode(network, corrupted, open_cells, uniform), sampled)
    assert torch.equal(sampled, naive(network, tokens, open_cells, uniform, None, 1.0))


def test_an_empty_mask_gives_a_copy() -> None:
    network = make("separate")
    tokens, _, uniform = case(network)
    copied = decode(network, tokens, torch.zeros(NUM, 81, dtype=torch.bool), uniform)
    assert torch.equal(copied, tokens)
    assert copied.data_ptr() != tokens.data_ptr()


def test_sampled_cells_are_whole_and_in_their_ranges() -> None:
    for head in ("separate", "joint"):
        network = make(head)  # type: ignore[arg-type]
        tokens, open_cells, uniform = case(network)
        cells = decode(network, tokens, torch.ones_like(open_cells), uniform).flatten(0, 1)
        empty = (cells == -1).any(1)
        assert (cells[empty] == -1).all()
        assert (cells[~empty] >= 0).all()
        assert (cells < torch.tensor([7, 10, 10])).all()
        assert 0 < empty.sum() < len(cells) or head == "joint"


def test_pick_draws_from_the_softmax() -> None:
    draws = torch.Generator().manual_seed(0)
    logits, temperature, num = torch.randn(8 + 11, generator=draws) * 1.5, 0.7, 50_000
    uniform = torch.rand(num, 2, generator=draws)
    symbols = pick(logits.expand(num, -1), (8, 11), uniform, temperature)
    for part, drawn in zip(logits.split((8, 11)), symbols.unbind(-1), strict=True):
        expected = (part.double() / temperature).softmax(-1) * num
        counts = drawn.bincount(minlength=len(part))
        assert chisquare(counts.numpy(), expected.numpy()).pvalue > 0.001
        wrong = part.double().softmax(-1) * num  # the test tells temperatures apart
        assert chisquare(counts.numpy(), wrong.numpy()).pvalue < 1e-9


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = torch.randn(100, 8 + 701, generator=torch.Generator().manual_seed(0))
    symbols = pick(logits, (8, 701), torch.rand(100, 2), 0)
    for cold in (1e-8, 1e-40):  # by which float32 cannot divide
        assert torch.equal(pick(logits, (8, 701), torch.rand(100, 2), cold), symbols)
    assert torch.equal(symbols, torch.stack([logits[:, :8].argmax(1), logits[:, 8:].argmax(1)], 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_draws_give_symbols_in_range(dtype: torch.dtype) -> None:
    logits = torch.randn(1000, 701, generator=torch.Generator().manual_seed(0))
    ones = torch.ones(1000, 1, dtype=dtype)
    assert (pick(logits, (701,), torch.nextafter(ones, torch.zeros_like(ones)), 1.0) <= 700).all()
    assert (pick(logits, (701,), torch.zeros_like(ones), 1.0) == 0).all()


@pytest.mark.parametrize("head_sizes", [(8, 11, 11), (701,)])
def test_symbols_and_tokens_are_each_others_inverse(head_sizes: tuple[int, ...]) -> None:
    tokens = layout.puzzles_to_tokens(torch.cat([generate(rule, 0, 20) for rule in (3, 37)]))
    symbols = to_symbols(tokens, head_sizes)
    assert symbols.shape == (40, 81, len(head_sizes))
    assert (symbols >= 0).all()
    assert (symbols < torch.tensor(head_sizes)).all()
    assert torch.equal(from_symbols(symbols), tokens)


# Particles ------------------------------------------------------------------------------------------------------------

STATES = torch.tensor([1, 2, 3])  # of a cell, in the chain below


class Chain:
    """Stands in for a network: a Markov chain over three states, as logits of a joint head."""

    head_sizes: tuple[int, ...] = (NUM_STATES,)

    def __init__(self, seed: int) -> None:
        rng = torch.Generator().manual_seed(seed)
        self.first = torch.rand(3, generator=rng).softmax(0)
        self.step = (torch.rand(3, 3, generator=rng) + 3 * torch.eye(3)).softmax(
            1
        )  # sticky: the end tells of the start

    def new_cache(self, batch_size: int) -> "Chain":
        self.last = torch.full((batch_size,), -1)
        return self

    def select(self, kept: torch.Tensor) -> None:
        self.last = self.last[kept]

    def __call__(self, cells: torch.Tensor, labels: None, cache: "Chain", *, last_only: bool = False) -> torch.Tensor:
        if cells.shape[1]:
            state = layout.tokens_to_states((cells[:, -1] - 1).to(torch.int8))
            self.last = torch.searchsorted(STATES, state)
        fraction = self.first.expand(len(cells), -1) if not cells.shape[1] else self.step[self.last]
        logits = torch.full((len(cells), 1, NUM_STATES), -torch.inf)
        logits[:, 0, STATES] = fraction.log()
        return logits

    def conditional(self, given: dict[int, int], length: int) -> dict[tuple[int, ...], float]:
        """Probability of each sequence of states (0-2) that agrees with ``given``."""
        fractions = {}
        for states in product(range(3), repeat=length):
            if all(states[i] == s for i, s in given.items()):
                fraction = float(self.first[states[0]])
                for a, b in pairwise(states):
                    fraction *= float(self.step[a, b])
                fractions[states] = fraction
        total = sum(fractions.values())
        return {states: fraction / total for states, fraction in fractions.items()}


@pytest.mark.parametrize("given", [{4: 2}, {1: 0, 3: 2}, {0: 1, 4: 0}])
def test_particles_follow_what_is_given_later(given: dict[int, int]) -> None:
    length, n = 5, 1000
    chain = Chain(seed=3)
    tokens = torch.full((n, length, 3), 5, dtype=torch.int8)
    open_cells = torch.ones(n, length, dtype=torch.bool)
    for i, state in given.items():
        tokens[:, i], open_cells[:, i] = layout.states_to_tokens(STATES[state]), False
    exact = chain.conditional(given, length)
    errors = {}
    for num_particles in (1, 4, 32):
        rng = torch.Generator().manual_seed(num_particles)
        written = decode_particles(chain, tokens, open_cells, num_particles=num_particles, generator=rng)  # type: ignore[arg-type]
        assert torch.equal(written[~open_cells], tokens[~open_cells])
        states = torch.searchsorted(STATES, layout.tokens_to_states(written))
        seen = Counter(map(tuple, states.tolist()))
        errors[num_particles] = sum(abs(seen[s] / n - fraction) for s, fraction in exact.items()) / 2
    assert errors[1] > 1.5 * errors[4] > 1.5 * 1.5 * errors[32], errors
    assert errors[32] < 0.15, errors  # of which about 0.04 is the noise of so few draws


class Pairs:
    """Stands in for a network: two cells of three attributes with two values each, by separate heads; of the second
    cell each head depends on the whole first one."""

    head_sizes: tuple[int, ...] = (3, 3, 3)

    def __init__(self) -> None:
        draws = torch.Generator().manual_seed(3)
        self.first, self.second = (2 * torch.randn(n, 9, generator=draws) for n in (1, 27))

    def new_cache(self, batch_size: int) -> "Pairs":
        return self

    def select(self, kept: torch.Tensor) -> None:
        pass

    def __call__(self, cells: torch.Tensor, labels: None, cache: "Pairs", *, last_only: bool = False) -> torch.Tensor:
        if not cells.shape[1]:
            return self.first.expand(len(cells), -1).unsqueeze(1)
        return self.second[(cells[:, -1] * torch.tensor([9, 3, 1])).sum(-1)].unsqueeze(1)


def fractions(logits: Tensor, temperature: float) -> Tensor:
    """(3, 3, 3) float64: how often three heads say each triple of symbols."""
    a, b, c = ((part.double() / temperature).softmax(0) for part in logits.split(3))
    return a[:, None, None] * b[:, None] * c


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("given", [(-1, -1, -1), (0, 1, 0)])
def test_particles_of_separate_heads_draw_from_the_posterior(given: tuple[int, ...], temperature: float) -> None:
    """By enumeration: a cell is empty whichever of its symbols is, the given one as much as the written one."""
    n, network = 4000, Pairs()
    tokens = torch.tensor([(0, 0, 0), given], dtype=torch.int8).expand(n, -1, -1)
    open_cells = torch.tensor([True, False]).expand(n, -1)
    draws = torch.Generator().manual_seed(0)
    written = decode_particles(
        network, tokens, open_cells, num_particles=64, generator=draws, temperature=temperature  # type: ignore[arg-type]
    )  # fmt: skip

    exact: Counter[tuple[int, ...]] = Counter()
    for symbols in product(range(3), repeat=3):
        cell = (-1, -1, -1) if 0 in symbols else tuple(symbol - 1 for symbol in symbols)
        prior = fractions(network.first[0], temperature)[symbols].item()
        read = sum((value + 1) * 3**place for place, value in zip((2, 1, 0), cell, strict=True))
        after = fractions(network.second[read], temperature)
        likely = after[tuple(value + 1 for value in given)] if min(given) >= 0 else 1 - after[1:, 1:, 1:].sum()
        exact[cell] += prior * likely.item()
    seen = Counter(map(tuple, written[:, 0].tolist()))
    assert sum(abs(seen[cell] / n - fraction / exact.total()) for cell, fraction in exact.items()) / 2 < 0.03


@pytest.mark.parametrize("head", ["separate", "joint"])
def test_particles_do_not_read_what_is_under_the_mask(head: Head) -> None:
    network, draws = make(head), torch.Generator().manual_seed(2)
    tokens = layout.puzzles_to_tokens(generate(5, 0, 2))
    open_cells = (torch.arange(81) % 3 == 1).expand(2, -1)
    written = []
    for value in (-1, 3, 99, -128):
        corrupted = tokens.masked_fill(open_cells.unsqueeze(-1), value)
        written.append(
            decode_particles(network, corrupted, open_cells, num_particles=3, generator=draws.manual_seed(2))
        )
    assert all(torch.equal(other, written[0]) for other in written[1:])


def test_top_k_draws_only_the_likeliest() -> None:
    logits = torch.tensor([0.0, 3.0, 1.0, 2.0, -1.0]).expand(2000, -1)
    uniform = torch.rand(2000, 1, generator=torch.Generator().manual_seed(0))
    assert set(pick(logits, (5,), uniform, 1.0, top_k=2).flatten().tolist()) == {1, 3}
    assert set(pick(logits, (5,), uniform, 1.0, top_k=5).flatten().tolist()) == {0, 1, 2, 3, 4}
