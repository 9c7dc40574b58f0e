import pytest
import torch
from torch import Tensor, nn

from genraven.networks.cells import Embedding, Head, embed_cells
from genraven.networks.transformer import Transformer
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.states import symbols_to_states

torch.set_num_threads(1)


def make(head: Head = "separate", num_labels: int = 0, embedding: Embedding = "separate") -> Transformer:
    """A small network in float64 whose logits depend strongly on what it reads."""
    torch.manual_seed(0)
    network = Transformer(width=24, depth=3, num_heads=4, head=head, embedding=embedding, num_labels=num_labels)
    network = network.double().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.requires_grad_(False)


def random_cells(num: int, length: int = 80) -> Tensor:
    draws = torch.Generator().manual_seed(1)
    return torch.stack([torch.randint(0, n, (num, length), generator=draws) for n in (8, 11, 11)], -1)


@pytest.mark.parametrize("head", ["separate", "joint"])
@pytest.mark.parametrize("changed", [0, 1, 40, 79])
@pytest.mark.parametrize("attribute", [0, 2])
def test_a_cell_changes_nothing_before_the_cell_after_it(head: Head, changed: int, attribute: int) -> None:
    network, cells = make(head), random_cells(2)
    other = cells.clone()
    other[:, changed, attribute] = (other[:, changed, attribute] + 3) % 8
    before, after = network(cells), network(other)
    difference = (before - after).abs().amax((0, 2))
    assert difference[: changed + 1].max() < 1e-12
    assert (difference[changed + 1 :] > 1e-6).all()


@pytest.mark.parametrize("head", ["separate", "joint"])
@pytest.mark.parametrize("prefix", [0, 1, 50])
def test_cached_equals_uncached(head: Head, prefix: int) -> None:
    network, cells = make(head, num_labels=40), random_cells(3)
    labels = torch.tensor([0, 7, 39])
    cache = network.new_cache(3)
    parts = [network(cells[:, :prefix], labels, cache)]
    parts += [network(cells[:, i : i + 1], None, cache) for i in range(prefix, 80)]
    assert cache.length == 81
    assert (torch.cat(parts, 1) - network(cells, labels)).abs().max() < 1e-10


def test_cached_chunks_equal_uncached() -> None:
    network, cells = make(), random_cells(2)
    cache = network.new_cache(2)
    parts = [network(part, None, cache) for part in cells.split([5, 7, 68], 1)]
    assert (torch.cat(parts, 1) - network(cells)).abs().max() < 1e-10


@pytest.mark.parametrize("embedding", ["separate", "combined", "joint"])
def test_every_embedding_tells_cells_apart_and_reads_them_in_order(embedding: Embedding) -> None:
    network, cells = make(embedding=embedding), random_cells(2) % 7 + 1
    before = network(cells)
    for attribute in range(3):
        other = cells.clone()
        other[:, 40, attribute] = other[:, 40, attribute] % 7 + 1
        difference = (network(other) - before).abs().amax((0, 2))
        assert difference[:41].max() < 1e-12
        assert (difference[41:] > 1e-6).all()
    cache = network.new_cache(2)
    parts = [network(part, None, cache) for part in cells.split([5, 1, 74], 1)]
    assert (torch.cat(parts, 1) - before).abs().max() < 1e-10


def test_embeddings_have_the_tables_they_are_named_for() -> None:
    tables = {
        e: [tuple(t.weight.shape) for t in make(embedding=e).embeddings] for e in ("separate", "combined", "joint")
    }  # type: ignore[arg-type]
    assert tables["separate"] == [(8, 8), (11, 8), (11, 8)]
    assert tables["combined"] == [(8, 24), (11, 24), (11, 24)]
    assert tables["joint"] == [(701, 24)]
    network, cell = make(embedding="combined"), torch.tensor([[[3, 0, 10]]])
    shape, size, color = network.embeddings
    assert torch.allclose(
        embed_cells(network.embeddings, cell, network.embedding, network.symbols)[0, 0],
        shape.weight[3] + size.weight[0] + color.weight[10],
    )


def test_states_are_those_of_the_layout() -> None:
    tokens = layout.puzzles_to_tokens(torch.cat([generate(rule, 0, 30) for rule in (3, 15, 37)]))
    assert torch.equal(symbols_to_states(tokens.long() + 1, (8, 11, 11)), layout.tokens_to_states(tokens))
    every = layout.states_to_tokens(torch.arange(701))
    assert torch.equal(symbols_to_states(every.long() + 1, (8, 11, 11)), torch.arange(701))
    torn = torch.tensor([[0, 3, 3], [2, 0, 3], [2, 3, 0]])  # a cell with an empty channel is empty
    assert torch.equal(symbols_to_states(torn, (8, 11, 11)), torch.zeros(3, dtype=torch.int64))


def gpt2_of(network: Transformer) -> nn.Module:
    """An independent GPT-2 with the weights of ``network``."""
    transformers = pytest.importorskip("transformers", reason="the independent GPT-2 is that of transformers")
    config = transformers.GPT2Config(
        vocab_size=1,
        n_positions=len(network.positions),
        n_embd=network.width,
        n_layer=len(network.blocks),
        n_head=network.num_heads,
        attn_implementation="eager",
    )
    theirs = transformers.GPT2Model(config).double().eval().requires_grad_(False)
    names = {
        "norm1": "ln_1", "qkv": "attn.c_attn", "attention_out": "attn.c_proj",
        "norm2": "ln_2", "mlp_in": "mlp.c_fc", "mlp_out": "mlp.c_proj",
    }  # fmt: skip
    weights = {"wte.weight": torch.zeros(1, network.width), "wpe.weight": network.positions}
    weights |= {f"ln_f.{name}": value for name, value in network.norm.state_dict().items()}
    for name, value in network.blocks.state_dict().items():
        layer, part, kind = name.split(".")
        is_matrix = kind == "weight" and "norm" not in part
        weights[f"h.{layer}.{names[part]}.{kind}"] = value.T if is_matrix else value
    theirs.load_state_dict(weights, strict=True)
    return theirs


@pytest.mark.parametrize("length", [1, 12, 81])
def test_the_trunk_is_an_independent_gpt2_with_the_same_weights(length: int) -> None:
    network = make()
    theirs = gpt2_of(network)
    x = torch.randn(2, length, 24, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = theirs(inputs_embeds=x).last_hidden_state
    assert (network.trunk(x, None) - expected).abs().max() < 1e-10
    assert expected.std() > 0.1


@pytest.mark.parametrize(("head", "sizes"), [("separate", (8, 11, 11)), ("joint", (701,))])
def test_heads_split_the_logits(head: Head, sizes: tuple[int, ...]) -> None:
    network = make(head)
    assert network.head_sizes == sizes
    assert network(random_cells(2, 5)).shape == (2, 6, sum(sizes))


def test_a_separate_head_reads_its_third_of_the_width_alone() -> None:
    network, cells = make(), random_cells(1, 3)
    before = network(cells).split(network.head_sizes, -1)
    network.norm.weight[8:16] += 1  # the second third of 24
    after = network(cells).split(network.head_sizes, -1)
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_labels_change_the_logits_of_a_network_with_labels() -> None:
    network, cells = make(num_labels=40), random_cells(2, 4)
    unconditional = network(cells)
    assert torch.equal(unconditional, network(cells, torch.tensor([40, 40])))
    labelled = network(cells, torch.tensor([3, 40]))
    assert (labelled[0] - unconditional[0]).abs().amax(-1).gt(1e-6).all()
    assert torch.equal(labelled[1], unconditional[1])


def test_a_network_without_labels_knows_one_start_alone() -> None:
    network, cells = make(num_labels=0), random_cells(2, 4)
    assert network.start.num_embeddings == 1
    assert torch.equal(network(cells), network(cells, torch.tensor([0, 0])))


def test_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(0)
    network = Transformer(width=24, depth=1, num_heads=4, dropout=0.5)
    cells = random_cells(1, 5)
    assert not torch.equal(network(cells), network(cells))
    network.eval()
    assert torch.equal(network(cells), network(cells))


@pytest.mark.parametrize(("width", "num_heads"), [(25, 5), (24, 5)])
def test_a_width_that_does_not_divide_is_refused(width: int, num_heads: int) -> None:
    with pytest.raises(ValueError, match=f"got width {width} and {num_heads} heads"):
        Transformer(width=width, depth=1, num_heads=num_heads)


@pytest.mark.parametrize("head", ["separate", "joint"])
def test_the_last_position_alone(head: Head) -> None:
    network, cells = make(head), random_cells(3)
    with torch.no_grad():
        alone = network(cells, last_only=True)
        assert alone.shape[1] == 1
        assert torch.allclose(alone, network(cells)[:, -1:], rtol=1e-5, atol=1e-6)
