"""The second target of relational networks: which values each panel shows.

B puzzles, R rows, K roles of a panel, A attributes, V values.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from genraven.networks.relational import Context
from genraven.networks.relational_codes import PANELS

EMPHASIS = (1.0, 1.0, 3.0)
"""Of the panels of a row: the third is what completion asks for."""


def set_nats(context: Context, codes: Tensor, panel_of_role: tuple[int, ...], counted: Tensor | None = None) -> Tensor:
    """(B,) cross-entropy in nats for each bit of a code, third panels counted three times.

    A number is one of its values; each value of another attribute is shown or not. Where hypotheses of the attribute
    that carries the rule are distinguished, the probability of a panel's sets is the mean over these. Attributes are
    also predicted from the role that carries the rule alone, whether they carry it or not, in all rows that know of
    others, which say which one it is. Without this, the role would only be asked for relations that are learned first.

    Args:
        context: (B, R, ...).
        codes: (B, R, 3, A, V) of whole panels.
        panel_of_role: of each of the K roles.
        counted: (B, R, 3) bool, panels that count; None for all.
    """
    targets = torch.stack([codes[:, :, p] for p in panel_of_role], 2).float()
    sets = context.sets.float()
    nats = F.binary_cross_entropy_with_logits(sets, targets, reduction="none").sum(-1)  # B, R, K, A
    of_number = -(sets[..., -2, :].log_softmax(-1) * targets[..., -2, :]).sum(-1)
    nats = torch.cat([nats[..., :-2], of_number.unsqueeze(-1), nats[..., -1:]], -1)
    of_panel = nats[:, :, :PANELS].sum(-1)
    if context.carrier is not None:
        num = context.carrier.shape[2]  # panels with hypotheses: the last, or all
        carries, others = nats[:, :, PANELS - num : PANELS], nats[:, :, PANELS:]
        mixed = others.sum(-1) - (context.carrier + others - carries).logsumexp(-1)
        knows_others = torch.ones_like(mixed)
        if num < PANELS:  # read from the first row on
            knows_others[:, 0] = 0
        mixed = mixed + carries.sum(-1) * knows_others
        of_panel = torch.cat([of_panel[:, :, : PANELS - num], mixed], 2)
    of_panel = torch.stack([nats * weight for nats, weight in zip(of_panel.unbind(-1), EMPHASIS, strict=True)], -1)
    if counted is None:
        counted = torch.ones_like(of_panel, dtype=torch.bool)
    found = (of_panel * counted).flatten(1).sum(1) / counted.flatten(1).sum(1).clamp(min=1)
    return found / (codes.shape[-1] * codes.shape[-2])
