"""Gaussian diffusion: what a user sets of sampling, and how puzzles become fields.

B puzzles; fields (B, C, 9, 9).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from genraven.errors import InputError
from genraven.methods.method import Sampling, Task, setting
from genraven.puzzles import layout
from genraven.puzzles.spec import NUM_ATTRIBUTES

Completion = Literal["replacement", "guidance", "tds", "learned"]
CodeName = Literal["numbers", "onehot"]
COMPLETIONS_WITH: dict[str, tuple[Completion, ...]] = {  # a setting has an effect
    "num_particles": ("tds",),
    "num_resamples": ("replacement", "guidance"),
    "guidance_strength": ("guidance",),
}


@dataclass(frozen=True)
class Code:
    """How puzzles become fields, and back."""

    channels: int
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]


CODES: dict[CodeName, Code] = {
    "numbers": Code(NUM_ATTRIBUTES, layout.puzzles_to_fields, layout.fields_to_puzzles),
    "onehot": Code(sum(layout.SYMBOLS), layout.puzzles_to_onehot, layout.onehot_to_puzzles),
}


@dataclass(frozen=True)
class GaussianSampling(Sampling):
    """Settings of sampling by a Gaussian process.

    Args:
        sampler: one that the process can use; null is its usual one. Euler, ddim, ancestral, dpmpp_2m, dpmpp_2m_sde
            and flow_sde take one network evaluation a step, heun two.
        num_steps: sampling steps.
        guidance_scale: of labels in generation (classifier-free); 1 is the network's own.
        completion: replacement holds the given cells on their noisy path; guidance also pulls the open ones to where
            the given become likely; tds weighs and resamples particles and brings its own ancestral steps; learned is
            of networks trained with masks. Null is learned for these, replacement for others.
        num_resamples: how often each step of replacement or guidance is taken (RePaint); 1 is once.
        num_particles: of tds, a puzzle.
        guidance_strength: of guidance in completion; 0 is replacement.
    """

    sampler: str | None = None
    num_steps: int = setting(50, least=1)
    guidance_scale: float = setting(1.0, of="generate")
    completion: Completion | None = setting(None, of="complete")  # noqa: RUF009
    num_resamples: int = setting(1, least=1, of="complete")
    num_particles: int = setting(8, least=1, of="complete")
    guidance_strength: float = setting(1.0, least=0, of="complete")

    def unheeded(self, task: Task) -> dict[str, str]:
        """Also the sampler, where completion brings steps of its own."""
        found = super().unheeded(task)
        if task == "complete" and self.completion == "tds":
            found["sampler"] = "does not matter to complete, because completion is tds"
        return found

    def completes_by(self, masked_share: float) -> Completion:
        """The completion of a model whose training masked that fraction of the puzzles."""
        return self.completion or ("learned" if masked_share else "replacement")


def check_completion(sampling: GaussianSampling, masked_share: float, given: Collection[str]) -> None:
    """Raises InputError on a completion that a model of ``masked_share`` lacks, and ``given`` settings in vain."""
    if sampling.completion == "learned" and not masked_share:
        raise InputError("expected completion by replacement, guidance or tds for a network trained without masks, "
                         "got learned: choose one, or train with masked_share above 0.")  # fmt: skip
    completion = sampling.completes_by(masked_share)
    for name, completions in COMPLETIONS_WITH.items():
        if name in given and completion not in completions:
            raise InputError(f"expected {name} with completion by {' or '.join(completions)}, got {completion}: "
                             f"ask for completion {completions[0]} as well.")  # fmt: skip
