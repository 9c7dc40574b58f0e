"""What every method declares about itself, held against what it does."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from docstring_parser import parse
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from genraven.errors import InputError
from genraven.flops import count_flops
from genraven.methods.any_order import AnyOrder, AnyOrderSampling
from genraven.methods.autoregressive import Autoregressive, AutoregressiveSampling
from genraven.methods.block import BlockDiffusion, BlockSampling
from genraven.methods.gaussian import GaussianDiffusion, GaussianSampling
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.gaussian.process import Process
from genraven.methods.gaussian.samplers import SAMPLERS
from genraven.methods.gaussian.settings import CodeName
from genraven.methods.masked import MaskedDiffusion, MaskedSampling
from genraven.methods.method import Method, all_methods
from genraven.networks.any_order import AnyOrderTransformer
from genraven.networks.axial import AxialMasked, AxialTransformer
from genraven.networks.block import BlockTransformer
from genraven.networks.dit import DiT
from genraven.networks.mamba import Mamba
from genraven.networks.relational_ar import RelationalAR
from genraven.networks.relational_masked import RelationalMasked
from genraven.networks.relational_soft import RelationalSoft
from genraven.networks.transformer import Decoder, Transformer
from genraven.networks.unet import UNet
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.spec import NUM_CELLS, NUM_RULES, TOKENS_PER_PUZZLE
from lightning_modules import AutoregressiveModule, DiffusionModule, PuzzleModule


def gaussian(process: Process, **sampling: Any) -> PuzzleModule:
    out = 6 if process.learned_variance else 3
    network = DiT(width=24, depth=1, num_heads=2, patch=3, out_channels=out, num_labels=NUM_RULES)
    return DiffusionModule(network, GaussianDiffusion(process, sampling=GaussianSampling(num_steps=3, **sampling)))


def recalling(**sampling: Any) -> PuzzleModule:
    network = DiT(width=24, depth=1, num_heads=2, patch=3, in_channels=6, num_labels=NUM_RULES)
    settings = GaussianSampling(num_steps=3, guidance_scale=2.0, **sampling)
    return DiffusionModule(network, GaussianDiffusion(Flow(), sampling=settings, self_conditioning=True))


def unet(**sampling: Any) -> PuzzleModule:
    network = UNet(channels=8, multipliers=(1, 2, 2), dropout=0.0, num_labels=NUM_RULES)
    return DiffusionModule(network, GaussianDiffusion(Edm(), sampling=GaussianSampling(num_steps=3, **sampling)))


def cells(**sampling: Any) -> PuzzleModule:
    network = Transformer(width=24, depth=1, num_heads=2, num_labels=NUM_RULES)
    return AutoregressiveModule(network, Autoregressive(sampling=AutoregressiveSampling(**sampling)))


def steps(block_size: int) -> int | None:
    """Evaluations of a block."""
    return 4 if block_size == 9 else None


AXIAL: dict[str, Any] = {"width": 36, "depth": 2, "num_heads": 3, "num_labels": NUM_RULES}
RELATIONAL = {"num_labels": NUM_RULES}
MODELS: dict[str, Callable[[], PuzzleModule]] = {
    "gpt2": cells,
    "any order": lambda: AutoregressiveModule(
        AnyOrderTransformer(width=24, depth=1, num_heads=2, num_labels=NUM_RULES), AnyOrder()
    ),
    **{
        f"blocks of {size}": lambda size=size: DiffusionModule(  # type: ignore[misc]
            BlockTransformer(width=24, depth=1, num_heads=2, num_labels=NUM_RULES),
            BlockDiffusion(size, sampling=BlockSampling(num_steps=steps(size), guidance_scale=2.0)),
        )
        for size in (1, 9, 81)
    },
    "axial": lambda: AutoregressiveModule(AxialTransformer(**AXIAL), Autoregressive()),
    "axial masked": lambda: DiffusionModule(
        AxialMasked(**AXIAL), MaskedDiffusion(sampling=MaskedSampling(num_steps=7, guidance_scale=2.0))
    ),
    "relational": lambda: AutoregressiveModule(RelationalAR(**RELATIONAL), Autoregressive()),
    "relational masked": lambda: DiffusionModule(
        RelationalMasked(**RELATIONAL), MaskedDiffusion(sampling=MaskedSampling(num_steps=7, guidance_scale=2.0))
    ),
    "relational soft": lambda: DiffusionModule(
        RelationalSoft(in_channels=30, **RELATIONAL),
        GaussianDiffusion(Flow(), "onehot", sampling=GaussianSampling(num_steps=3, guidance_scale=2.0)),
    ),
    **{f"flow {name}": lambda name=name: gaussian(Flow(), sampler=name) for name in SAMPLERS},  # type: ignore[misc]
    "ddpm": lambda: gaussian(Ddpm()),
    "edm": lambda: gaussian(Edm()),
    "recalling": recalling,
    "recalling with guidance": lambda: recalling(completion="guidance"),
    "guided labels": lambda: gaussian(Flow(), guidance_scale=2.0),
    "resampled": lambda: gaussian(Edm(), num_resamples=2),
    "guidance": lambda: gaussian(Flow(), completion="guidance"),
    "guidance of no strength": lambda: gaussian(Flow(), completion="guidance", guidance_strength=0.0),
    "guidance of a U-Net": lambda: unet(completion="guidance", sampler="heun", num_resamples=2),
    "tds": lambda: gaussian(Flow(), completion="tds", num_particles=2),
    "tds of a U-Net": lambda: unet(completion="tds", num_particles=2),
}
WITH_GRADIENTS = ("guidance", "recalling with guidance", "guidance of a U-Net", "tds", "tds of a U-Net")


def seen_by(module: PuzzleModule, work: Callable[[], object]) -> float:
    """Whole puzzles that pass through the network; a cell of a sequence is a part of one.

    What a network that reads a finished panel once does for a cell is told by its multiplications alone.
    """
    seen: list[float] = []
    network = module.network
    if isinstance(network, RelationalAR):
        whole = count_flops(network)
        assert whole is not None
        with FlopCounterMode(display=False) as count:
            work()
        return count.get_total_flops() / whole.forward
    if isinstance(network, Decoder | Mamba | BlockTransformer):
        name = "trunk" if isinstance(network, Mamba) else "read"
        read = getattr(network, name)

        def positions(x: torch.Tensor, *rest: Any, **settings: Any) -> torch.Tensor:
            seen.append(len(x) * x.shape[1] / TOKENS_PER_PUZZLE)
            return read(x, *rest, **settings)

        setattr(network, name, positions)
        work()
        setattr(network, name, read)
        return sum(seen)
    hook = network.register_forward_hook(lambda network, inputs, output: seen.append(len(output)))
    work()
    hook.remove()
    return sum(seen)


@pytest.mark.parametrize("name", MODELS)
def test_the_effort_that_is_declared_is_the_effort_that_is_made(name: str) -> None:
    module, puzzles = MODELS[name]().eval(), generate(0, 0, 4)
    rules = torch.zeros(4, dtype=torch.int64)
    made = seen_by(module, lambda: module.generate(4, rules, torch.Generator().manual_seed(0)))
    exact = 0.1 if name == "relational" else 1e-6
    assert made == pytest.approx(4 * module.nfe("generate", TOKENS_PER_PUZZLE), rel=exact)
    if name not in WITH_GRADIENTS:
        done = seen_by(module, lambda: module.complete(puzzles, last_panel_mask(4), torch.Generator().manual_seed(0)))
        assert done == pytest.approx(4 * module.nfe("complete", NUM_CELLS), rel=exact)


class Products(TorchDispatchMode):
    """Counts what torch's counter of operations does; that one takes no gradient with respect to an input."""

    flops = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if count := flop_registry.get(function._overloadpacket):
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        return out


@pytest.mark.parametrize("name", [*WITH_GRADIENTS, "edm", "resampled"])
def test_the_effort_of_completion_is_what_the_flop_counter_finds(name: str) -> None:
    """With gradients, too, which guidance and particles take at each evaluation."""
    module, puzzles = MODELS[name]().eval(), generate(0, 0, 4)
    counted = count_flops(module.network)
    assert counted is not None
    with Products() as spent:
        module.complete(puzzles, last_panel_mask(4), torch.Generator().manual_seed(0))
    said = 4 * module.passes("complete", NUM_CELLS) * counted.forward
    assert spent.flops == pytest.approx(said, rel=0.12)


ASKING_FOR_ALL: list[dict[str, Any]] = [{"num_steps": 9, "order": "confidence"}, {"num_steps": 9, "remasking": 0.1}]


@pytest.mark.parametrize("settings", [{}, {"num_steps": 27}, *ASKING_FOR_ALL])
@pytest.mark.parametrize("switches", [{}, {"carrier": False}, {"shared_attributes": False}])
def test_a_relational_network_answers_only_for_the_cells_that_are_asked_for(
    settings: dict[str, Any], switches: dict[str, bool]
) -> None:
    module = DiffusionModule(RelationalMasked(**switches), MaskedDiffusion()).eval()
    module.sample_by(settings)
    counted = count_flops(module.network)
    assert counted is not None
    with FlopCounterMode(display=False) as spent:
        module.generate(2, None, torch.Generator().manual_seed(0))
    passes, evaluations = module.passes("generate", TOKENS_PER_PUZZLE), module.nfe("generate", TOKENS_PER_PUZZLE)
    assert spent.get_total_flops() == pytest.approx(2 * passes * counted.forward, rel=0.1)
    assert passes == evaluations if settings in ASKING_FOR_ALL else passes < 0.6 * evaluations


ONCE = ["gpt2", "any order", "flow euler", "ddpm", "edm", "relational soft"]


@pytest.mark.parametrize(("name", "times"), [*((name, 1) for name in ONCE), ("blocks of 9", 2), ("recalling", 2)])
def test_a_training_step_reads_a_puzzle_once_but_for_some(name: str, times: int) -> None:
    """Block diffusion reads it whole and masked, self-conditioning first without gradient."""
    module = MODELS[name]()
    generator = torch.Generator().manual_seed(0)

    class Drawn:
        def __call__(self, distribution: Callable[..., torch.Tensor], *shape: int) -> torch.Tensor:
            return distribution((5, *shape), generator=generator)

        def spread(self) -> torch.Tensor:
            return self(torch.rand)

    made = seen_by(module, lambda: module.losses(generate(0, 0, 5), None, Drawn()))
    assert made == pytest.approx(5 * times)


def test_the_first_of_two_passes_has_no_way_back() -> None:
    module = recalling()
    counted = count_flops(module.network, module.method.training_pass)
    once = count_flops(module.network)
    assert counted is not None
    assert once is not None
    assert counted.training == once.training + once.forward
    assert counted.forward == once.forward


@pytest.mark.parametrize("switches", [{}, {"carrier": False}, {"shared_attributes": False}, {"rows_summed": False}])
@pytest.mark.parametrize("num_open", [9, 27, 40])
def test_what_a_completion_takes_of_a_pass_is_what_its_multiplications_are(
    switches: dict[str, bool], num_open: int
) -> None:
    module = AutoregressiveModule(RelationalAR(**switches)).eval()
    mask = layout.tokens_to_puzzles((torch.arange(81) >= 81 - num_open).to(torch.int8).view(1, 81, 1).expand(2, 81, 3))
    done = seen_by(module, lambda: module.complete(generate(3, 0, 2), mask[:, 0] > 0))
    assert done == pytest.approx(2 * module.nfe("complete", num_open), rel=0.1)


@pytest.mark.parametrize(
    ("plain", "recipe"),
    [
        (Flow(), Flow(training_times="logit_normal", spacing=2.0)),
        (Ddpm(), Ddpm(training_spacing=2.0, spacing=3.0)),
        (Edm(), Edm(p_mean=0.5, p_std=2.0, training_draws=[(0, 0), (0.5, 0.1), (1, 1)], sigma_max=10.0)),
    ],
    ids=lambda process: type(process).__name__,
)
@pytest.mark.parametrize("code", ["numbers", "onehot"])
def test_recipes_of_a_process_are_validated_at_the_same_times(plain: Process, recipe: Process, code: CodeName) -> None:
    if code == "onehot" and plain.learned_variance:
        plain, recipe = Ddpm(learned_variance=False), Ddpm(learned_variance=False, training_spacing=2.0)
    channels = 3 if code == "numbers" else 30
    out = channels * (1 + plain.learned_variance)
    torch.manual_seed(0)
    network = DiT(width=24, depth=1, num_heads=2, patch=3, in_channels=channels, out_channels=out)
    torch.nn.init.normal_(network.out.weight, std=0.1)
    puzzles = generate(0, 0, 16)

    def losses(process: Process) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        draw = lambda distribution, *shape: distribution((16, *shape), generator=generator)  # noqa: E731
        return GaussianDiffusion(process, code).losses(network, puzzles, None, draw)  # type: ignore[arg-type]

    network.train()
    assert not torch.allclose(losses(plain), losses(recipe))
    network.eval()
    assert torch.equal(losses(plain), losses(recipe))


@pytest.mark.parametrize("method", all_methods(), ids=lambda method: method.__name__)
def test_every_setting_is_explained_and_has_a_default(method: type[Method]) -> None:
    explained = {item.arg_name for item in parse(method.settings.__doc__ or "").params}
    assert explained == {item.name for item in fields(method.settings)}
    assert method.settings() == method.settings()
    assert method.family in ("autoregressive", "diffusion")


def test_settings_are_changed_one_by_one_from_the_methods_own() -> None:
    module = gaussian(Flow(), sampler="heun")
    module.sample_by({"num_steps": 7})
    module.sample_by({"sampler": "ddim"})
    assert module.sampling == GaussianSampling(num_steps=3, sampler="ddim")
    module.sample_by({})
    assert module.sampling == module.method.sampling
    with pytest.raises(InputError, match="one of sampler=, num_steps=.*got temperature="):
        module.sample_by({"temperature": 1.0})
    with pytest.raises(InputError, match="completion to be one of replacement, guidance, tds, learned, got magic"):
        module.sample_by({"completion": "magic"})


def test_a_method_belongs_to_a_module_of_its_family() -> None:
    with pytest.raises(InputError, match="a method of the diffusion family, got Autoregressive"):
        DiffusionModule(DiT(width=24, depth=1, num_heads=2), Autoregressive())
    with pytest.raises(InputError, match="network of noisy fields.*got Transformer"):
        DiffusionModule(Transformer(width=24, depth=1, num_heads=2), GaussianDiffusion(Flow()))
    with pytest.raises(InputError, match="predicts each next cell.*got DiT"):
        AutoregressiveModule(DiT(width=24, depth=1, num_heads=2))


def enumerated(sizes: tuple[int, ...]) -> torch.Tensor:
    """Every cell that there is, canonical, (701, 3)."""
    return layout.states_to_tokens(torch.arange(701))


@pytest.mark.parametrize("head", ["separate", "joint"])
def test_the_likelihood_of_a_cell_sums_to_one_over_all_cells(head: Any) -> None:
    """With separate heads *empty* has many spellings; counted once each they would sum to more than one."""
    from genraven.methods.decoding import cell_log_likelihood

    sizes = (8, 11, 11) if head == "separate" else (701,)
    logits = torch.randn(sum(sizes), generator=torch.Generator().manual_seed(0)).double()
    total = cell_log_likelihood(logits.expand(701, -1), sizes, enumerated(sizes)).double().exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-5)


def test_likelihood_is_the_loss_of_a_joint_head_and_less_than_that_of_separate_ones() -> None:
    puzzles = generate(3, 0, 6)
    joint = AutoregressiveModule(Transformer(width=24, depth=1, num_heads=2, head="joint"))
    apart = AutoregressiveModule(Transformer(width=24, depth=1, num_heads=2))
    for module, same in ((joint, True), (apart, False)):
        losses = module.losses(puzzles, None, None)  # type: ignore[arg-type]
        nats = module.method.nats_per_cell(module.network, puzzles, None, None)  # type: ignore[arg-type]
        assert nats is not None
        assert nats.shape == (6, 1)
        assert torch.allclose(nats[:, 0], losses, atol=1e-5) if same else (nats[:, 0] < losses).all()


def test_of_masked_puzzles_an_autoregressive_network_learns_the_last_panel_alone() -> None:
    puzzles, uniform = generate(3, 0, 3), torch.tensor([0.2, 0.4, 0.9])
    network = Transformer(width=24, depth=1, num_heads=2, head="joint")
    method = Autoregressive(masked_share=0.4)
    written = torch.ones(3, 9, 9, dtype=torch.bool)
    nats = -method.log_probability(network, puzzles, written, None).cells
    is_last = layout.mask_to_tokens(last_panel_mask(3))
    of_last, of_all = nats[is_last].view(3, 9).mean(1), nats.mean(1)

    losses = method.losses(network.train(), puzzles, None, lambda *_: uniform)  # type: ignore[arg-type]
    assert torch.allclose(losses, torch.stack([of_last[0], of_all[1], of_all[2]]), atol=1e-5)
    validated = method.losses(network.eval(), puzzles, None, None)  # type: ignore[arg-type]
    assert torch.allclose(validated, of_all, atol=1e-5)
    with pytest.raises(InputError, match="expected masked_share between 0 and 1, got 1.5"):
        Autoregressive(1.5)


def test_masked_inputs_are_not_read_in_training_and_all_cells_are_learned() -> None:
    puzzles, uniform = generate(3, 0, 2), torch.rand(2, 81, generator=torch.Generator().manual_seed(0))
    network = Transformer(width=24, depth=1, num_heads=2, head="joint", reads_unknown=True)
    torch.nn.init.normal_(network.unknown)  # type: ignore[arg-type]
    method, asked = Autoregressive(input_masking=0.3), []
    tokens = layout.puzzles_to_tokens(puzzles)

    def draw(distribution: Any, *shape: int) -> torch.Tensor:
        asked.append(shape)
        return uniform

    def nats(masked: torch.Tensor) -> torch.Tensor:
        logits = network(tokens[:, :-1].long() + 1, unknown=masked[:, :-1]).transpose(1, 2)
        return torch.nn.functional.cross_entropy(logits, layout.tokens_to_states(tokens), reduction="none").mean(1)

    masked = uniform < 0.3
    losses = method.losses(network.train(), puzzles, None, draw)  # type: ignore[arg-type]
    torch.testing.assert_close(losses, nats(masked))
    gap = torch.zeros(2, 9, 9, dtype=torch.bool)
    gap[:, 0, 0] = True
    with_gap = method.losses(network, puzzles, None, draw, gap)  # type: ignore[arg-type]
    other = method.losses(network, puzzles.flip(0).where(gap.unsqueeze(1), puzzles), None, draw, gap)  # type: ignore[arg-type]
    assert torch.equal(with_gap, other)
    torch.testing.assert_close(method.losses(network.eval(), puzzles, None, draw), nats(masked & False))  # type: ignore[arg-type]
    Autoregressive().losses(network.train(), puzzles, None, draw)  # type: ignore[arg-type]
    assert asked == [(81,)] * 3, "in training alone, and only where it is asked for"


def test_input_masking_needs_a_share_and_a_network_that_can() -> None:
    for fraction in (1.0, -0.1, float("nan")):
        with pytest.raises(InputError, match=f"expected input_masking from 0 to below 1, got {fraction}"):
            Autoregressive(input_masking=fraction)
    method = Autoregressive(input_masking=0.1)
    with pytest.raises(InputError, match="cells are missing, for input_masking above 0.*or set input_masking to 0"):
        AutoregressiveModule(Transformer(width=24, depth=1, num_heads=2), method)
    with pytest.raises(InputError, match="input_masking 0 for a network with a training loss of its own.*RelationalAR"):
        AutoregressiveModule(RelationalAR(reads_unknown=True), method)


def test_a_setting_that_a_setting_of_the_model_replaces_is_named() -> None:
    sampling = MaskedSampling(completion_order="panels", num_steps=9)
    assert sampling.unheeded("generate").keys() == {"completion_steps", "completion_order", "completion_temperature"}
    assert sampling.unheeded("complete") == {
        "num_steps": "matters to this model only to generate",
        "guidance_scale": "matters to this model only to generate",
        "order": "does not matter to complete, because completion_order is panels",
    }
    one = MaskedSampling(num_steps=1, order="panels")
    assert one.unheeded("generate")["order"] == "does not matter to generate, because num_steps is 1"
    assert "order" not in one.unheeded("complete")
    assert "completion_order" in MaskedSampling(completion_steps=1, completion_order="panels").unheeded("complete")
    for surest in (AutoregressiveSampling, AnyOrderSampling):
        assert surest(top_k=3, completion_temperature=0).unheeded("complete")["top_k"].endswith("temperature is 0")
        assert "top_k" not in surest(top_k=3, completion_temperature=0).unheeded("generate")
        assert "top_k" not in surest(top_k=3, temperature=0, completion_temperature=1).unheeded("complete")
    assert "sampler" in GaussianSampling(completion="tds").unheeded("complete")
    assert "sampler" not in GaussianSampling(completion="tds").unheeded("generate")
