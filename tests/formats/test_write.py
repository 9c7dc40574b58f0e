from pathlib import Path

import numpy as np
import pytest
import torch

from genraven.errors import InputError
from genraven.formats.read import open_puzzles
from genraven.formats.write import WRITERS, save_archive
from genraven.outputs import Outputs
from genraven.puzzles.generate import generate
from genraven.puzzles.spec import HELD_OUT_SPLITS

OUT = {
    "puzzles": ["own.npy", "own.pt"],
    "npz": ["own.npz"],
    "published": ["all.npy", "all.pt"],
    "folder": ["aR"],
    "split": [f"train_inputs_new_{split}.pt" for split in HELD_OUT_SPLITS] + ["x_split3.npy"],
}


@pytest.fixture(scope="module")
def puzzles() -> torch.Tensor:
    return torch.stack([generate(rule, 0, 2) for rule in range(40)])


@pytest.mark.parametrize(("name", "out"), [(name, out) for name, outs in OUT.items() for out in outs])
def test_what_is_written_is_read_again(tmp_path: Path, puzzles: torch.Tensor, name: str, out: str) -> None:
    writer, path = WRITERS[name], tmp_path / out
    ids = writer.rules(path) or list(range(40))
    assert path.suffix in writer.suffixes
    writer.write(path, puzzles[ids], tuple(ids))
    assert [file.name for file in tmp_path.iterdir()] == [out]
    file = open_puzzles(path)
    assert file.layout.startswith("puzzles" if name == "npz" else name)
    chunk = file.read(np.arange(len(file)))
    assert torch.equal(chunk.puzzles, puzzles[ids].flatten(0, 1))
    stated = [-1] * 80 if name == "puzzles" else np.repeat(ids, 2).tolist()
    assert chunk.rules.tolist() == stated


def test_the_layouts_are_those_of_the_study(tmp_path: Path, puzzles: torch.Tensor) -> None:
    WRITERS["published"].write(tmp_path / "all.npy", puzzles, tuple(range(40)))
    rows = np.load(tmp_path / "all.npy")
    assert (rows.shape, rows.dtype) == ((40, 6, 3, 9, 3), np.int8)
    assert np.array_equal(rows[37, 4, 2, 5], puzzles[37, 1, :, 3 + 1, 6 + 2])  # second row, last panel, sixth cell
    WRITERS["folder"].write(tmp_path / "aR", puzzles, tuple(range(40)))
    assert np.array_equal(np.load(tmp_path / "aR" / "4_7.npy"), rows[37])
    WRITERS["split"].write(tmp_path / "x_split3.pt", puzzles[:35], tuple(range(35)))
    assert torch.load(tmp_path / "x_split3.pt", weights_only=True).shape == (35, 6, 3, 9, 3)


def test_a_split_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the split whose rules are left out in the name"):
        WRITERS["split"].rules(tmp_path / "train_inputs.pt")


def test_an_archive_is_written_in_chunks_whole_or_not_at_all(tmp_path: Path) -> None:
    path, data = tmp_path / "a.npz", np.arange(12, dtype=np.int16).reshape(4, 3)
    save_archive(path, {"x": (data.shape, data.dtype, [data[:1], data[1:]])})
    assert np.array_equal(np.load(path)["x"], data)
    before = path.read_bytes()

    def fails() -> object:
        yield data[:1]
        raise OSError("no room")

    outputs = Outputs(overwrite=True)
    outputs.add(path, "--out")
    with pytest.raises(OSError, match="no room"), outputs:
        save_archive(outputs[path], {"x": (data.shape, data.dtype, fails())})  # type: ignore[dict-item]
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]
