"""``genraven submit``: one run as a job of a cluster, checked, frozen and explained."""

import argparse
import json
import shlex
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from genraven.console import say
from genraven.errors import InputError, shown
from genraven.run_folder import JOB_ID, JobFiles, RunFiles, read_note, read_summary, step_checkpoints
from launch.arguments import first_option
from launch.configs.plugins import named_plugins, plugin_options
from launch.runs.freeze import exclusive, freeze_code, no_interrupt, replaced
from launch.runs.status import noted_jobs, read_status
from launch.schedulers.cluster_options import given, read_cluster
from launch.schedulers.job import Cluster, JobSpec
from launch.schedulers.known import checked, here, queue_if_up
from launch.schedulers.scheduler import Jobs

DERIVED = {"trainer.num_nodes": "--nodes", "trainer.devices": "--gpus-per-node (or --tasks-per-node)"}


def training_arguments(words: list[str]) -> list[str]:
    """What stands after ``--``: a command line of ``fit``.

    Raises:
        InputError: it is another command, or sets what the cluster's settings decide.
    """
    words = words[1:] if words[:1] == ["--"] else words
    if words[:1] != ["fit"]:
        instead = "add it." if not words or words[0].startswith("-") else "begin it with fit."
        raise InputError(f"expected the training command after --, such as `-- fit -c model/sit_s.yaml`, got "
                         f"{shlex.join(words) or 'nothing'}: {instead}")  # fmt: skip
    if option := first_option(words, DERIVED):
        decides = DERIVED[option.removeprefix("--")]
        raise InputError(f"expected {decides} to say where a job runs, got {option}: leave it out.")
    return words


def on_cluster(config: dict[str, Any], cluster: Cluster) -> dict[str, Any]:
    """``config`` with a trainer for the nodes and devices of ``cluster``.

    Raises:
        InputError: the trainer is for other devices, or the processes do not divide the batch.
    """
    from datamodules.batches import Shard

    asked, options = config["trainer"]["accelerator"], cluster.trainer_options()
    fits = {"gpu": ("auto", "gpu", "cuda"), "cpu": ("auto", "cpu")}[options["accelerator"]]
    if asked not in fits:
        other = "0 for a job of CPUs" if options["accelerator"] == "gpu" else "1 or more for a job of GPUs"
        raise InputError(
            f"expected a trainer for the {options['accelerator'].upper()}s of this job, got trainer.accelerator "
            f"{asked}: choose another trainer config, or --gpus-per-node {other}; `genraven fit`, or `sweep --local 1` "
            "of a grid, trains on this machine."
        )
    accumulate = config["trainer"]["accumulate_grad_batches"]
    Shard(config["data"]["global_batch_size"], 0, cluster.world_size, accumulate if isinstance(accumulate, int) else 1)
    return {**config, "trainer": {**config["trainer"], **options}}


def check_run(folder: Path, config: dict[str, Any], limit_s: int | None, jobs: Jobs | None) -> None:
    """Raises InputError when ``folder`` or the checkpoint to start from is another run's, or another model's.

    Or when the run may be in the queue, or saves too rarely for the time limit.
    """
    from launch.configs.identity import refuse_other
    from launch.runs.folder import RunFolder, read_checkpoint
    from launch.runs.starting import check_length
    from launch.training.initial_weights import read_initial

    RunFolder(folder).check_owner(config)
    for step, path in step_checkpoints(RunFiles(folder).checkpoints).items():
        check_length(step, path, config)
    if path := config["ckpt_path"]:
        refuse_other(read_checkpoint(Path(path))["genraven_config"], config, Path(path))
    elif config["init_from"] and not RunFolder(folder).newest_whole():
        read_initial(config["init_from"], config)
    job = read_note(folder).get("job")
    if (status := read_status(folder, jobs)).state == "unknown":
        raise InputError(f"expected a run that is not in the queue, got {folder}, {status.message}: "
                         f"`{here().cancel(str(job))}`, and remove {RunFiles(folder).job.note}, if it is "
                         "over.")  # fmt: skip
    if jobs and job in jobs:
        raise InputError(f"expected a run that is not in the queue, got {folder}, which is job {job} "
                         f"({jobs[job].state}): wait, or `{here().cancel(job)}` first.")  # fmt: skip
    if status.is_busy:
        raise InputError(f"expected a run that nobody trains, got {folder}, which is {status.state}: wait for it, or "
                         "end it first.")  # fmt: skip
    summary = read_summary(folder)
    if limit_s and summary.get("step") and summary.get("wall_seconds"):
        interval_s = config["checkpoint_every_n_steps"] * summary["wall_seconds"] / summary["step"]
        if interval_s > limit_s:
            raise InputError(
                f"expected a time limit of at least one checkpoint interval, {interval_s / 60:.0f} minutes at the "
                f"speed of {folder} so far, got {limit_s / 60:.0f} minutes: raise --time, or lower "
                "--checkpoint_every_n_steps."
            )


def write_note(files: JobFiles, job: str, cluster: Cluster, arguments: list[str]) -> None:
    """``spec.json``: which job this is, and what was asked for. The job is in the queue already: this never fails."""
    if not JOB_ID.fullmatch(job):
        say(f"genraven: expected the id of a job to be of letters, digits and _ . @ [ ] -, got {shown(job)}: it is in "
            f"the queue, but `genraven status` cannot follow it, and another submission of {files.folder.parent} would "
            "not be refused", error=True)  # fmt: skip
    note = {"job": job, "submitted": time.strftime("%FT%T%z"), "arguments": arguments, "cluster": asdict(cluster)}
    try:
        files.note.write_text(json.dumps(note, indent=2) + "\n")
    except OSError as error:
        say(f"genraven: {files.note} not written ({error.strerror}): note that it is job {job}", error=True)


def _spec(cluster: Cluster, folder: Path) -> JobSpec:
    return JobSpec(cluster, folder.name, RunFiles(folder).job.folder, sys.executable, folder, plugins=named_plugins())


def submit(options: argparse.Namespace) -> None:
    """Checks, freezes and submits one run; with --dry-run, prints its script and writes nothing."""
    arguments, cluster = training_arguments(options.arguments), read_cluster(options)
    scheduler = checked(cluster, dry_run=options.dry_run)

    from launch.runs.folder import default_run_folder
    from launch.training.resolve import Resolver

    config = on_cluster(Resolver(arguments).resolve(arguments), cluster)
    folder = Path(config["run_dir"] or default_run_folder(config)).absolute()
    see_queue = queue_if_up if options.dry_run else scheduler.queue
    check_run(folder, config, cluster.time_s, see_queue(noted_jobs([folder])))
    if options.dry_run:
        say(scheduler.script(_spec(cluster, folder)).removesuffix("\n"))
        return
    with ExitStack() as stack:
        if not config["run_dir"]:  # named by the second, which another submission may share
            folder = stack.enter_context(exclusive(folder))
        files = RunFiles(folder).job
        stack.enter_context(replaced(files.folder))
        files.config.write_text(yaml.safe_dump(config, sort_keys=False))
        files.script.write_text(scheduler.script(_spec(cluster, folder)))
        freeze_code(files.folder)
        with no_interrupt():  # a job that is submitted keeps its files, and is reported
            job = scheduler.submit(files.script)
            write_note(files, job, cluster, arguments)
            stack.pop_all().close()
            again = [*given(options), *plugin_options(), "--", *arguments]
            again += [] if config["run_dir"] else ["--run_dir", str(folder)]
            say(f"job {job}: run folder {folder}")
            log = shlex.quote(str(files.log(scheduler.name, job)))
            say(f"watch   tail -F {log}\n        genraven status {shlex.quote(str(folder))}")
            say(f"cancel  {scheduler.cancel(job)}")
            say(f"resume  genraven submit {shlex.join(again)}")
