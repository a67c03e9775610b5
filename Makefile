# make demo   registers two phantom scans, both ways, and writes out/demo (installs the package into .venv first)
# make test   runs the tests, make nightly those that take more than a minute;  make lint  checks style, types and the direction of imports
# make docs   redraws the picture in docs/ and runs the code that the docs show
PYTHON ?= python3
BIN := .venv/bin
.PHONY: demo test nightly lint docs

demo: .venv/core.stamp
	rm -rf out/demo
	$(BIN)/mics demo -o out/demo

test: .venv/all.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

nightly: .venv/all.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m nightly

lint: .venv/all.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/all.stamp
	$(BIN)/python docs/points_and_images.py
	$(BIN)/python -m pytest tests/test_docs.py

# One pip command each, with the pins: nothing can pull in another torch first.
.venv/core.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

.venv/all.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,train,cluster,peers,dicom,x5]'
	touch $@
