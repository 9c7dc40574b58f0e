"""The protocol of a generative method: whatever training, sampling, scoring and reporting ask of it.

B puzzles; puzzles (B, 3, 9, 9) int8, masks (B, 9, 9) bool (true where the model writes), labels (B,) int64 or None. A
method holds settings only: the network is handed in. A new one is a file in this package with a subclass of ``Method``.
"""

import importlib
import inspect
import math
import numbers
import pkgutil
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal, Protocol, SupportsIndex, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from genraven.errors import InputError, suggestion

Family = Literal["autoregressive", "diffusion"]
Pool = Literal["mean", "last"]
Task = Literal["generate", "complete"]
Likelihood = tuple[Literal["exact", "bound"], int]


class Draw(Protocol):
    """Random numbers for a shard of puzzles: a part of those for the global batch, whatever the world size."""

    def __call__(self, distribution: Callable[..., Tensor], *shape: int) -> Tensor:
        """(B, *shape) float32 draws of ``distribution``, such as torch.rand."""

    def spread(self) -> Tensor:
        """(B,) draws on [0, 1), each uniform, that together cover the global batch evenly."""


@dataclass(frozen=True)
class LogProbability:
    """What a model thinks of cells (B, L) that were written, in nats; 0 in all others."""

    cells: Tensor
    """Log-probability of what stands there."""
    expected: Tensor
    """Its expectation under the model: less the entropy, which is large where much is right."""

    @property
    def total(self) -> Tensor:
        """(B,) log-probability of all that was written."""
        return self.cells.sum(1)

    @property
    def surplus(self) -> Tensor:
        """(B,) log-probability less what is expected; raw, it mostly measures how varied such panels are."""
        return (self.cells - self.expected).sum(1)


def setting(
    default: Any,
    *,
    least: float | None = None,
    below: float | None = None,
    among: Mapping[str, Any] | None = None,
    of: Task | None = None,
    instead_of: str | None = None,
    in_vain_at: Mapping[str, Any] | None = None,
) -> Any:
    """A field of a ``Sampling`` with its range, or the table whose names it takes; null is allowed where it is the
    default. ``of`` is the task that alone heeds it, ``instead_of`` the setting that it then replaces there; None is
    both tasks, and none. ``in_vain_at`` names other settings, with the value of each at which this one has no effect.
    """
    about = {"least": least, "below": below, "among": among, "of": of, "instead_of": instead_of}
    about["in_vain_at"] = in_vain_at or {}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Sampling:
    """How a trained model is made to write. A subclass is all that the command line, a config, an evaluation and the
    report know of a method's sampling: names, types, defaults, ranges, and in its docstring the help.

    Raises:
        InputError: a value out of its range.
    """

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for item in fields(self):
            value, least, below = getattr(self, item.name), item.metadata.get("least"), item.metadata.get("below")
            if value is None and item.default is None:
                continue
            if choices := choices_of(item, hints[item.name]):
                if value not in choices:
                    hint = suggestion(str(value), choices, "choose one of those, or name the --plugin that has it.")
                    raise InputError(f"expected {item.name} to be one of {', '.join(choices)}, got {value}: {hint}")
                continue
            if wanted := _other_kind(value, hints[item.name]):
                raise InputError(f"expected {item.name} to be {wanted}, got {value!r}.")
            if least is not None and not value >= least:  # nan is not
                raise InputError(f"expected {item.name} to be {least} or more, got {value}.")
            if below is not None and not value < below:
                raise InputError(f"expected {item.name} to be below {below}, got {value}.")
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"expected {item.name} to be a finite number, got {value}.")

    def unheeded(self, task: Task) -> dict[str, str]:
        """Settings without effect on ``task``, each with why."""
        found = {}
        for item in fields(self):
            of, instead_of = item.metadata.get("of"), item.metadata.get("instead_of")
            if of not in (None, task):
                found[item.name] = f"matters to this model only to {of}"
            elif instead_of is not None and getattr(self, item.name) is not None:
                found[instead_of] = f"does not matter to {task}, because {item.name} is {getattr(self, item.name)}"
        for item in [item for item in fields(self) if item.name not in found]:
            for other, value in item.metadata.get("in_vain_at", {}).items():
                if other not in found and getattr(self, other) == value:
                    found[item.name] = f"does not matter to {task}, because {other} is {value}"
        return found

    @classmethod
    def as_noted(cls, noted: Mapping[str, Any]) -> dict[str, Any]:
        """Settings that a file ``noted``, as they would be noted today: those that were not there yet, with which all
        was as by their defaults, are added.
        """
        return asdict(cls()) | dict(noted)


def _other_kind(value: Any, hint: Any) -> str:
    """What a setting of the type ``hint`` has to be, if ``value`` is of another; empty where it fits."""
    kinds = set(get_args(hint)) or {hint}
    is_number, is_whole = isinstance(value, numbers.Real), isinstance(value, SupportsIndex)
    if bool in kinds:
        return "" if isinstance(value, bool) else "true or false"
    if str in kinds:
        return "" if isinstance(value, str) else "a name"
    if float in kinds and (isinstance(value, bool) or not is_number):
        return "a number"
    if int in kinds and float not in kinds and (isinstance(value, bool) or not is_whole):
        return "a whole number"
    return ""


def choices_of(item: "Field[Any]", hint: Any) -> tuple[str, ...]:
    """The words that a field of a ``Sampling`` takes: of its table, or of its Literal; none for another type."""
    if item.metadata.get("among") is not None:
        return tuple(item.metadata["among"])
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return next((get_args(part) for part in parts if get_origin(part) is Literal), ())


class Method(ABC):
    """How a network learns, generates and completes.

    Args:
        sampling: what a model writes with unless somebody asks for something else; None takes the defaults.
    """

    family: ClassVar[Family]
    """What a user chooses between."""
    settings: ClassVar[type[Sampling]]
    """The class of ``sampling``."""
    likelihood: Likelihood | None = None
    """What ``nats_per_cell`` is, the negative log-likelihood or a number that is not below it in expectation, and in
    how many draws; None where there is none. A method whose settings decide says it of itself."""
    study_protocol: ClassVar[Mapping[str, Any]] = {}
    """Sampling settings in which arXiv 2411.07873 scores this method, where they are known and not the usual ones."""
    confidences: ClassVar[tuple[str, ...]] = ("agreement", "strongest")
    """What can be known of its completions, of those that ``genraven.trust.confidence`` leaves to methods; one with
    ``log_probability`` has the method of that name, one with ``recovery`` is an ``again.SolvesAgain``."""
    pools: ClassVar[tuple[Pool, ...]] = ("mean",)
    """How hidden states of all positions become one vector that means something."""

    reads_numbers: bool = False
    """Does it compute with the numbers of a puzzle themselves, so that those out of their ranges mean something?"""

    def __init__(self, sampling: Sampling | None = None) -> None:
        self.sampling = sampling or self.settings()

    @abstractmethod
    def architecture(self, network: nn.Module) -> str:
        """The name that the field has for what is trained."""

    @abstractmethod
    def check_network(self, network: nn.Module) -> None:
        """Raises InputError on a network that this method cannot use."""

    def training_pass(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """What a training step has the network do with a puzzle, given its ``example_inputs``: its work is counted."""
        return network(*inputs)  # type: ignore[no-any-return]

    def check_sampling(self, network: nn.Module, sampling: Sampling, given: Collection[str] = ()) -> None:
        """Raises InputError on settings that cannot be used with ``network``, or ``given`` ones without effect."""
        if "guidance_scale" in given and not num_labels(network):
            raise InputError("expected guidance_scale for a network with labels, got one without: leave it out.")

    def check_missing(self, network: nn.Module) -> None:
        """Raises InputError unless ``network`` can be trained on puzzles of which some cells are unknown."""
        raise InputError(f"expected whole puzzles to train {type(self).__name__} on, got a training set with missing "
                         "cells: remove those puzzles, or choose another method.")  # fmt: skip

    @abstractmethod
    def losses(
        self, network: nn.Module, puzzles: Tensor, labels: Tensor | None, draw: Draw, unknown: Tensor | None = None
    ) -> Tensor:
        """(B,) losses: of training while the network is in training mode, else of validation.

        Args:
            unknown: (B, 9, 9) bool, true where nobody knows what stands in the puzzle: there it reads nothing and
                learns nothing. None for whole puzzles; others come only where ``check_missing`` raises nothing.
        """

    @abstractmethod
    def generate(
        self, network: nn.Module, n: int, labels: Tensor | None, sampling: Any, generator: torch.Generator | None
    ) -> Tensor:
        """(n, 3, 9, 9) int8 puzzles from nothing, with ``labels`` (n,) for a network that reads them."""

    @abstractmethod
    def complete(
        self,
        network: nn.Module,
        puzzles: Tensor,
        mask: Tensor,
        sampling: Any,
        generator: torch.Generator | None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """``puzzles`` with the cells under ``mask`` written anew, the others as given.

        ``labels`` (B,) are given where somebody knows the rules, to a network that reads them; a method that cannot use
        them leaves the argument out.
        """

    def leaves_unread(self, network: nn.Module, mask: Tensor, sampling: Any) -> Tensor:
        """(B,) bool: are there given cells that ``complete`` does not read for all open cells of ``mask`` (B, 9, 9)?"""
        return torch.zeros(len(mask), dtype=torch.bool)

    @abstractmethod
    def nfe(self, network: nn.Module, sampling: Any, task: Task, num_open: int, *, labels: bool) -> float:
        """Number of function evaluations: how often the network reads a puzzle; reading one cell is a part of one.

        A gradient with respect to the network's input counts as one more: the backward pass multiplies about as much as
        the forward pass (0.95 to 1.21 times as much in the networks that are shipped).

        Args:
            num_open: cells to write, the last ones of the puzzle.
            labels: are they given in generation?
        """

    def passes(self, network: nn.Module, sampling: Any, task: Task, num_open: int, *, labels: bool) -> float:
        """What sampling computes, in passes of the network over a whole puzzle; arguments as of ``nfe``.

        That is ``nfe``, but for a network that computes only what an evaluation asks for.
        """
        return self.nfe(network, sampling, task, num_open, labels=labels)

    @abstractmethod
    def probe_forward(
        self, network: nn.Module, puzzles: Tensor, level: float | None, generator: torch.Generator
    ) -> None:
        """Passes ``puzzles`` through the network once, without labels, at one of the ``reading_levels``."""

    def reading_levels(self, asked: Sequence[float] | None) -> list[float | None]:
        """Levels of corruption at which a probe reads the puzzles; one None for a method that reads them whole.

        Raises:
            InputError: levels ``asked`` for that it has not.
        """
        if asked:
            raise InputError(f"expected --noise for a method that reads puzzles with noise, got {type(self).__name__}, "
                             "which reads them as they are: leave it out.")  # fmt: skip
        return [None]

    def nats_per_cell(self, network: nn.Module, puzzles: Tensor, labels: Tensor | None, draw: Draw) -> Tensor:
        """(B, D) D independent estimates of the negative log-likelihood in nats per cell, as ``likelihood`` says."""
        raise NotImplementedError

    def log_probability(
        self, network: nn.Module, puzzles: Tensor, mask: Tensor, generator: torch.Generator | None
    ) -> LogProbability:
        """Of the cells of ``puzzles`` under ``mask``, given the others, at temperature 1 and without labels."""
        raise NotImplementedError


def check_reads_unknown(
    network: nn.Module, purpose: str = "a training set with such cells", instead: str = "remove these puzzles"
) -> None:
    """Raises InputError, with what it was for and what else to do, unless ``network`` reads which cells are unknown."""
    if not getattr(network, "reads_unknown", False):
        can = "reads_unknown" in inspect.signature(type(network)).parameters
        got, remedy = (
            (" with reads_unknown false", "set model.network.reads_unknown to true or null")
            if can
            else (", which never does", "use another network")
        )
        raise InputError(f"expected a network that reads which cells are missing, for {purpose}, got "
                         f"{type(network).__name__}{got}: {remedy}, or {instead}.")  # fmt: skip


def check_kind(
    network: nn.Module, kind: type, does: str, example: str, purpose: str, instead: str = "use it with another method"
) -> None:
    """Raises InputError, with what a network of ``kind`` does and for what, unless ``network`` is one."""
    if not isinstance(network, kind):
        raise InputError(f"expected a network that {does}, such as genraven.networks.{example}, for {purpose}, got "
                         f"{type(network).__name__}: {instead}.")  # fmt: skip


def mean_within(values: Tensor, counted: Tensor) -> Tensor:
    """(B,) means of those of ``values`` (B, ...) that are ``counted``; 0 where none is."""
    return (values * counted).flatten(1).sum(1) / counted.flatten(1).sum(1).clamp(min=1)


def num_labels(network: nn.Module) -> int:
    """Classes of the label that a network reads; 0 for one without."""
    return int(getattr(network, "num_labels", 0))


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights are; the CPU for one without."""
    return next((p.device for p in network.parameters()), torch.device("cpu"))


def dtype_of(network: nn.Module) -> torch.dtype | None:
    """What a network's weights are in; None for one without."""
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), None)


def all_methods() -> list[type[Method]]:
    """Every method of this package and of modules imported besides, by name."""
    package = importlib.import_module(__package__)
    for found in pkgutil.walk_packages(package.__path__, f"{__package__}."):
        importlib.import_module(found.name)
    waiting: list[type[Any]] = [Method]
    methods: list[type[Method]] = []
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        methods += [] if inspect.isabstract(cls) else [cls]
    return sorted(methods, key=lambda cls: cls.__name__)
