# make demo   registers two phantom scans, both ways, and writes out/demo (installs the package into .venv first)
# make test   runs the tests, make nightly those that take more than a minute;  make lint  checks style, types and the direction of imports
# make quick  runs the tests that take seconds;  make coverage  all but the nightly ones, and which lines they reach;  make oldest  the
#             quick ones of the core with the oldest versions that pyproject.toml allows, in an environment of their own, where
#             old libraries may warn of what newer ones mend
# make docs   redraws the picture in docs/ and runs the code that the docs show
PYTHON ?= python3
BIN := .venv/bin
.PHONY: demo test nightly quick coverage oldest lint docs
CORE := tests/files tests/image tests/deformation tests/evaluation tests/registration tests/report
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

demo: .venv/core.stamp
	rm -rf out/demo
	$(BIN)/mics demo -o out/demo

test: .venv/all.stamp
	$(PYTEST)

nightly: .venv/all.stamp
	$(PYTEST) -m nightly --timeout 3600

quick: .venv/all.stamp
	$(PYTEST) -m 'not nightly and not slow'

coverage: .venv/all.stamp
	$(PYTEST) --cov --cov-report term

oldest: .venv/oldest/stamp
	OMP_NUM_THREADS=1 .venv/oldest/bin/python -m pytest -n 2 --dist loadfile -m 'not nightly and not slow' -W default $(CORE)

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

.venv/oldest/stamp: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv/oldest
	.venv/oldest/bin/python -m pip install -q -c constraints-oldest.txt -e '.[dev]'
	touch $@
