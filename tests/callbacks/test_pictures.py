"""Pictures keep to their fraction of the time."""

from typing import Any

import pytest

import callbacks.pictures
from callbacks import PictureOptions, Pictures
from genraven.errors import InputError


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


class Trainer:
    sanity_checking = False


def drawn(share: float, monkeypatch: pytest.MonkeyPatch, cost_s: float = 1.0, every_s: float = 10.0) -> list[int]:
    """Which of 20 validations are drawn."""
    clock: Any = Clock()
    monkeypatch.setattr(callbacks.pictures, "time", clock)
    monkeypatch.setattr(callbacks.pictures, "holds_pictures", lambda trainer: True)
    pictures, trainer, found = Pictures(PictureOptions(share=share)), Trainer(), []
    pictures.on_train_start(trainer, None)  # type: ignore[arg-type]
    for number in range(20):
        clock.now += every_s
        pictures.on_validation_start(trainer, None)  # type: ignore[arg-type]
        if pictures._draws:
            found.append(number)
            with pictures._timed():
                clock.now += cost_s
    return found


@pytest.mark.parametrize("share", [0.02, 0.05, 0.09])
def test_drawing_keeps_to_its_share(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = drawn(share, monkeypatch)
    assert numbers[0] == 0
    total_s = 20 * 10.0
    assert len(numbers) == pytest.approx(share * total_s, abs=1.01)


def test_all_are_drawn_when_that_is_cheap_and_none_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(0.02, monkeypatch, cost_s=0.1) == list(range(20))
    assert drawn(0.0, monkeypatch) == []


@pytest.mark.parametrize("options", [{"share": 1.5}, {"share": -0.1}, {"puzzles": 0}])
def test_options_that_cannot_be(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="--pictures"):
        PictureOptions(**options)  # type: ignore[arg-type]
