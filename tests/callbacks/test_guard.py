"""RunGuard where processes cannot come together; what it does to runs is in tests/launch."""

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch.distributed as dist

from callbacks import RunGuard, StepCheckpoint


def test_processes_that_cannot_connect_hear_of_the_interface(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(**_: Any) -> None:
        raise RuntimeError("Gloo connectFullMesh failed\nwith a long trace")

    monkeypatch.setattr(dist, "new_group", refuse)
    trainer = SimpleNamespace(world_size=2, _signal_connector=MagicMock(), fit_loop=MagicMock())
    guard = RunGuard(StepCheckpoint(tmp_path, 10), timedelta(seconds=5))
    with pytest.raises(RuntimeError, match=r"connectFullMesh failed\): on hosts .* set GLOO_SOCKET_IFNAME"):
        guard.setup(trainer, MagicMock(), "fit")  # type: ignore[arg-type]
