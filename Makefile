# make train: install into .venv and run the main job, a comparison of encodings on the embedded molecules
# make test:  install into .venv and run linters, type checks and the whole test suite
#
# Both may be repeated; PYTHON=/path/to/python chooses the interpreter (3.11, 3.12 or 3.13).
# The recipes are plain shell, and README.md shows them without make.

PYTHON ?=
TRAIN = compare --data embedded --epochs 15 --jobs 2 --out runs/compare
PYTEST =

help:
	@sed -n 's/^# \(make [a-z]*:.*\)/\1/p' Makefile

train:
	@PYTHON='$(PYTHON)' sh scripts/install.sh train
	@echo "== Training: graphtf $(TRAIN)"
	@.venv/bin/graphtf $(TRAIN)

test:
	@PYTHON='$(PYTHON)' sh scripts/install.sh dev
	@echo "== Lint: ruff check"
	@.venv/bin/ruff check
	@echo "== Format: ruff format --check"
	@.venv/bin/ruff format --check
	@echo "== Types: mypy"
	@.venv/bin/mypy
	@echo "== Tests: pytest"
	@OMP_NUM_THREADS=1 PYTHONSAFEPATH=1 .venv/bin/pytest $(PYTEST)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

.PHONY: help train test clean
