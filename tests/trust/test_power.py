"""What the check of familiarity can see is measured, and said as it was measured."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genraven.errors import InputError
from genraven.trust.calibration import Calibration
from genraven.trust.digest import digest
from genraven.trust.familiarity import ALARM, unlike
from genraven.trust.fitting import Labelled, calibrated
from genraven.trust.power import ALIKE, NEVER_TRAINED, NUM_FILES, alarms, held_against, measured_power

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=2000)
FAR, NEAR, OTHER = RNG.normal(-9, size=100), RNG.normal(-1, size=1000), RNG.normal(-2, size=100)
KINDS = {"far": FAR, NEVER_TRAINED + "one": NEAR, NEVER_TRAINED + "two": OTHER}


def calibration(num: int = 2000) -> Calibration:
    part = Labelled({"s": np.zeros(num)}, {"s": np.ones(num, bool)}, np.full(num, "a rule"), NORMAL[:num])
    found = calibrated(part, part, model="m", completion={"candidates": 8}, source={}, delta=0.1)
    power = measured_power(found.familiarity, {ALIKE: RNG.normal(size=100), **KINDS}, seed=0)
    return replace(found, power=power)


@pytest.mark.parametrize("size", [1, 2, 7, 40])
@pytest.mark.parametrize("digits", [0, 6])
def test_files_alarm_as_each_does_by_itself(size: int, digits: int) -> None:
    """Also where many puzzles have one value."""
    shifts = np.repeat([0.0, -1.0, -3.0, 4.0], 15)
    files = (RNG.normal(size=(60, size)) + shifts[:, None]).round(digits)
    known = NORMAL[:700].round(digits)
    assert alarms(files, known).tolist() == [unlike(file, known) < ALARM for file in files]


def test_the_power_is_the_share_of_files_of_each_kind_that_alarm() -> None:
    power = calibration().power
    assert power is not None
    assert list(power[ALIKE]) == ["1", "2", "3", "5", "10", "20", "50"]  # half of the puzzles at most
    assert all(hits <= 2 and files == NUM_FILES for hits, files in power[ALIKE].values())
    assert power["far"]["1"] == [NUM_FILES, NUM_FILES]
    for size in (5, 20):
        known = [unlike(RNG.normal(-1, size=size), NORMAL) < ALARM for _ in range(300)]
        assert power[NEVER_TRAINED + "one"][str(size)][0] / NUM_FILES == pytest.approx(np.mean(known), abs=0.12)


def test_it_is_said_what_so_many_puzzles_can_show() -> None:
    found = calibration()
    said = str(held_against(found, NORMAL[:7]))
    assert said.startswith("7 different puzzles checked, as a whole, against 2,000 of the calibration: no alarm (p = ")
    assert "Of files of 5 puzzles, all of one other kind, the check sees far (200 of 200); sees only some of a" in said
    assert "for one to " in said and said.endswith("it may miss, and kinds that were not measured.")
    assert "the check sees far (200 of 200), a rule never trained (" in str(held_against(found, NORMAL[:500]))
    one = str(held_against(found, NORMAL[:1]))
    assert one.startswith("1 puzzle checked") and "; does not see a rule never trained (" in one
    assert "they are unlike those (p = " in str(held_against(found, FAR))


def test_too_few_to_alarm_a_model_that_cannot_tell_and_what_was_not_measured_are_said_to_be_blind() -> None:
    found = calibration(1000)
    for values in (NORMAL[:1], [-1e300]):
        check = held_against(found, values)
        assert check.sight is not None and not check.sight.can_alarm and not check.are_unlike
        assert "The check can see nothing here: so few puzzles never alarm, whatever they are." in str(check)
    for power in (None, {ALIKE: {}}):
        check = held_against(replace(found, power=power), NORMAL[:20])
        assert "was not measured: calibrate with more" in str(check)
    for check in (held_against(replace(found, familiarity=()), FAR), held_against(found, None)):
        assert str(check).startswith("It was not checked") and not check.are_unlike


def test_the_power_stands_in_the_file_and_an_older_one_is_refused_in_a_line_that_says_what_to_do(
    tmp_path: Path,
) -> None:
    path, written = tmp_path / "c.json", calibration(300)
    written.write(path)
    assert Calibration.read(path) == written
    older = json.loads(path.read_text()) | {"version": 2}
    del older["power"], older["digest"]
    path.write_text(json.dumps(older | {"digest": digest(older)}))
    with pytest.raises(InputError, match="version 3 in .*, got another: run `genraven calibrate` again"):
        Calibration.read(path)
