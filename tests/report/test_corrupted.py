"""What corrupted training data cost a model, against its own clean data."""

from tables import repeats

from genraven.report.corrupted import against_clean
from genraven.report.page import Table

CLEAN = {"trained_on": "color.constant", "corruption": "none"}
MISSING = {**CLEAN, "corruption": "missing 0.3"}


def test_a_model_is_held_against_itself_on_clean_data() -> None:
    clean = [*repeats("autoregressive", 400, 0.9), *repeats("diffusion", 400, 0.7)]
    more = {"settings": {"model.network.depth": "3"}}
    missing = [*repeats("autoregressive", 400, 0.5, 10_000_048), *repeats("diffusion", 400, 0.7, **more)]
    (table,) = against_clean([(CLEAN, clean), (MISSING, missing)])
    assert isinstance(table, Table)
    assert [[str(cell) for cell in row[1:5]] for row in table.rows] == [  # no diffusion model of the same recipe
        ["400", "none", "0.900 [0.889, 0.910]", "–"],
        ["400", "missing 0.3", "0.500 [0.482, 0.518]", "-0.400 [-0.421, -0.379]"],
    ]


def test_data_sets_that_differ_in_more_are_not_held_against_each_other() -> None:
    others = {**MISSING, "held_out": "size.constant"}
    runs = repeats("diffusion", 400, 0.7)
    assert against_clean([(CLEAN, runs), (others, runs)]) == []
    assert against_clean([(MISSING, runs), ({**CLEAN, "corruption": "cells 0.1"}, runs)]) == []
