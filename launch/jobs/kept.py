"""Runs that studies keep: a grid that goes on elsewhere does not train them again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genraven.errors import InputError
from genraven.report.record import Record
from genraven.report.study import read_study
from genraven.run_folder import SUMMARY_KINDS, of_kinds
from launch.configs.identity import is_same_run
from launch.runs.status import RunStatus, find_studies, noted_status


@dataclass(frozen=True)
class KeptRuns:
    """Those that trained for as long as they were meant to."""

    runs: Sequence[Record]

    @classmethod
    def read(cls, folder: Path | None) -> "KeptRuns":
        """Of the studies at and below ``folder``; none without it.

        Raises:
            InputError: there is none, or a table is broken.
        """
        if folder is None:
            return cls(())
        studies = find_studies(folder)
        if not studies:
            raise InputError(f"expected --done-in to be the folder of a study, got {folder}: make one with `genraven "
                             "study add`, or leave it out.")  # fmt: skip
        return cls([files for study in studies for files in read_study(study).values() if _status(files).is_done])

    def has(self, config: Mapping[str, Any]) -> bool:
        """Is there a run of this resolved ``config``, of any name, that took as many steps as it asks for?"""
        wanted = (config.get("trainer") or {}).get("max_steps")
        alike = [files for files in self.runs if files.summary.get("max_steps") == wanted]
        return any(is_same_run(dict(files.config), dict(config)) for files in alike)


def _status(files: Record) -> RunStatus:
    return noted_status(of_kinds(files.summary, SUMMARY_KINDS))
