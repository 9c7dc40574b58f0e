"""Generated puzzles: pure in (seed, split, rule, index), never another rule than theirs, the same bytes for ever."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from genraven.errors import InputError
from genraven.puzzles.generate import BLOCK, SPLITS, Draws, generate
from genraven.puzzles.rules import row_rules
from genraven.puzzles.spec import NUM_VALUES, RULE_ID, RULES, Rule

# sha256 of generate(rule, 0, 8). These are the data set: where one changes, every published number is void.
GOLDEN = {
    "shape.constant": "e9e854871d6fef2d8b492ac47efc8e2ea986fd7369ba5c61d33e85fa9375834a",
    "size.progression-1": "e3bdeaa0175214bf85d4cd61d949d41a7731d0f07327f4e16afca15c70c0ddde",
    "color.xor": "96826150bbd462d19a34528d5af266602b73413c5effe054eb6660b174488703",
    "number.arithmetic+": "c48c77935c516139ce070b517a1ddb4016d443909fb4139c050e721af4413e68",
    "position.and": "99d2879e1be6a9ba8fbf90eb01ed5a0c7c0f4fdca41050e9b09292d69ec54860",
}
# The same of generate(shape.or, BLOCK - 4, 8, seed=7, split="test").
GOLDEN_TEST_SPLIT = "e5a3a17f9b1b835f4c932f3e69a06b7a67cb3d2813a5b7c3b8e1207a3fe76e1c"
SAMPLE = tuple(GOLDEN)


def sha256(puzzles: torch.Tensor) -> str:
    return hashlib.sha256(puzzles.contiguous().numpy().tobytes()).hexdigest()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_row_obeys_its_rule_and_no_other(rule: Rule) -> None:
    puzzles = generate(rule.id, 0, BLOCK)
    assert puzzles.dtype == torch.int8
    assert puzzles.shape == (BLOCK, 3, 9, 9)
    assert (row_rules(puzzles) == 1 << rule.id).all()
    empty = puzzles == -1
    assert torch.equal(empty.any(1), empty.all(1))
    assert (puzzles >= -1).all()
    assert (puzzles.amax((0, 2, 3)) < torch.tensor(NUM_VALUES)).all()


@pytest.mark.parametrize("name", SAMPLE)
def test_a_slice_is_the_slice_of_a_longer_run(name: str) -> None:
    rule = RULE_ID[name]
    whole = generate(rule, 0, 2 * BLOCK + 100, seed=5, split="val")
    cuts = ((0, 1), (0, BLOCK), (BLOCK - 1, 1), (BLOCK - 1, 2), (BLOCK, 1), (7, 2 * BLOCK), (BLOCK + 3, BLOCK + 50))
    for start, count in cuts:
        assert torch.equal(generate(rule, start, count, seed=5, split="val"), whole[start : start + count])


def test_the_same_in_any_thread() -> None:
    jobs = [(RULE_ID[name], start) for name in SAMPLE for start in (0, BLOCK)]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda job: generate(*job, 10), jobs))
    assert all(torch.equal(generate(*job, 10), puzzles) for job, puzzles in zip(jobs, threaded, strict=True))


def test_nothing_global_is_read_or_moved() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    one = generate(RULE_ID["shape.xor"], 0, 5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(generate(RULE_ID["shape.xor"], 0, 5), one)


def test_no_row_stands_in_two_streams() -> None:
    """Another seed, split, rule or block shares no row: a stream used twice would share all."""
    rows: set[bytes] = set()
    num = 0
    for name in ("size.xor", "size.or", "position.xor"):
        for seed, split in ((0, "train"), (1, "train"), (0, "val"), (0, "test"), (1 << 40, "train")):
            for start in (0, BLOCK):
                puzzles = generate(RULE_ID[name], start, 100, seed=seed, split=split)
                rows |= {row.tobytes() for row in puzzles.unflatten(2, (3, 3)).transpose(1, 2).flatten(0, 1).numpy()}
                num += 300
    assert len(rows) == num


def test_streams_of_different_purposes_differ() -> None:
    streams = [Draws(*key).below(1 << 30, (4,)).tolist() for key in ((0, "a"), (0, "b"), (1, "a"), (0, "a", 0))]
    assert len({tuple(stream) for stream in streams}) == len(streams)
    assert Draws(0, "a", 3).permutation(100).tolist() == Draws(0, "a", 3).permutation(100).tolist()
    assert sorted(Draws(0, "a", 3).permutation(100).tolist()) == list(range(100))


@pytest.mark.parametrize("name", GOLDEN)
def test_the_data_never_changes(name: str) -> None:
    assert sha256(generate(RULE_ID[name], 0, 8)) == GOLDEN[name]


def test_the_data_of_other_seeds_and_splits_never_change() -> None:
    assert sha256(generate(RULE_ID["shape.or"], BLOCK - 4, 8, seed=7, split="test")) == GOLDEN_TEST_SPLIT


@pytest.mark.parametrize("start", [0, 5, BLOCK])
def test_no_puzzles(start: int) -> None:
    puzzles = generate(RULE_ID["shape.xor"], start, 0)
    assert puzzles.shape == (0, 3, 9, 9)
    assert puzzles.dtype == torch.int8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": 40}, "rule id 0-39, got 40"),
        ({"rule": -1}, "rule id 0-39, got -1"),
        ({"start": -1}, "start to be 0 or more, got -1"),
        ({"count": -5}, "count to be 0 or more, got -5"),
        ({"seed": -1}, "seed to be 0 or more, got -1"),
        ({"split": "dev"}, f"one of {', '.join(SPLITS)}, got 'dev'"),
    ],
)
def test_bad_arguments_are_errors_of_one_line(arguments: dict[str, int | str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        generate(**{"rule": RULE_ID["shape.constant"], "start": 0, "count": 1, **arguments})
    assert "\n" not in str(caught.value)
