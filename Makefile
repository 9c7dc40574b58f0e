# make demo    ask the question on this CPU: both families, few and many examples, one page
# make families  train every method for the same small budget
# make test    run all tests
# make test-gpu the tests that need a GPU
# make measure-gpu what a GPU gives, in six minutes, a line of JSON a row
# make overfit  each family learns 64 puzzles by heart (hours)
# make lint    linter, formatter and type checker
# make bench   measure speeds and print them; ONLY="data sampling" for parts
# make pages   the pages of our studies, beside their tables in docs/study
# make scaling measure one and two processes, and compute larger worlds
# Each makes .venv and installs what it needs the first time.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo families test test-here test-slurm test-gpu measure-gpu overfit scaling lint bench pages clean

demo: $(READY)
	$(RUN)/python -m launch.demo

families: $(READY)
	$(RUN)/python -m launch.demo --families

test: $(READY)  # the tests on a real SLURM mostly wait, so the others go on beside them
	$(MAKE) --no-print-directory -j2 --output-sync=line test-here test-slurm

test-here:
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m 'not overfit and not slurm' --durations 15

test-slurm:
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest -m slurm tests/slurm

test-gpu: $(READY)
	$(RUN)/python -c 'import sys, torch; torch.cuda.is_available() or sys.exit("make test-gpu: torch sees no GPU here")'
	$(RUN)/python -m pytest -m gpu -n 4

measure-gpu: $(READY)
	$(RUN)/python -c 'import sys, torch; torch.cuda.is_available() or sys.exit("make measure-gpu: torch sees no GPU here")'
	$(RUN)/python tests/gpu/measure.py

overfit: $(READY)
	$(RUN)/python -m pytest -m overfit -s

lint: $(READY)
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

bench: $(READY)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench]'
	$(RUN)/python tests/benchmarks/run.py $(ONLY)

scaling: $(READY)
	OMP_NUM_THREADS=1 $(RUN)/python tests/benchmarks/scaling.py

pages: $(READY)
	for runs in docs/study/*/runs.jsonl; do $(RUN)/genraven report "$$(dirname "$$runs")" || exit; done

clean:
	rm -rf $(VENV)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
