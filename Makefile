# make demo   registers two phantom scans, both ways, and writes out/demo (installs the package into .venv first)
# make test   runs the tests, make nightly those that take long;  make lint  checks style, types and the direction of imports
# make quick  runs the tests that take seconds;  make coverage  all but the nightly ones, and which lines they reach;  make oldest  the
#             quick ones of the core with the oldest versions that pyproject.toml allows, in an environment of their own (Python 3.11),
#             where old libraries may warn of what newer ones no longer do
# make slicer makes out/slicer/MICS.zip, 3D Slicer's module with the package in it;  make bundle  out/bundle/mics.zip, a MONAI bundle
# make docs   builds the documentation as a site into site/, without warnings and without the network;  make docs-serve  shows it in a
#             browser while it is written;  make docs-code  redraws the pictures and prints the pages that programs make, runs the code
#             that the docs show and both notebooks
# make sbom   lists what the package is made of, as CycloneDX;  make audit  asks whether any of it has a known vulnerability (network)
# make fuzz   gives the parsers broken input for a minute each (benchmarks/fuzz)
PYTHON ?= python3
BIN := .venv/bin
.PHONY: demo test nightly quick coverage oldest lint docs docs-serve docs-code sbom audit fuzz slicer bundle
MKDOCS := NO_MKDOCS_2_WARNING=1 PYTHONPATH=src $(BIN)/python -m mkdocs
CORE := tests/files tests/image tests/deformation tests/evaluation tests/registration tests/report
# What Python compiled is kept, whatever the surroundings say: many tests start one of their own.
unexport PYTHONDONTWRITEBYTECODE
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

demo: .venv/core.stamp
	rm -rf out/demo
	$(BIN)/mics demo -o out/demo

test: .venv/all.stamp
	$(PYTEST)

nightly: .venv/all.stamp
	$(PYTEST) -m nightly --timeout 3600

quick: .venv/all.stamp
	$(PYTEST) --dist worksteal -m 'not nightly and not slow'

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
	$(MKDOCS) build --strict

docs-serve: .venv/all.stamp
	$(MKDOCS) serve

docs-code: .venv/all.stamp
	$(BIN)/python docs/points_and_images.py
	$(BIN)/python docs/models.py
	$(BIN)/python docs/summary.py
	$(BIN)/python -m pytest tests/test_docs.py tests/test_site.py -m ''

sbom: .venv/release.stamp
	$(BIN)/python -m cyclonedx_py environment --pyproject pyproject.toml --output-reproducible -o sbom.json $(BIN)/python

audit: .venv/release.stamp
	@$(BIN)/python -m pip_audit --strict --desc off -r constraints.txt --no-deps --disable-pip 2>.venv/audit.log; status=$$?; \
	if grep -q -e '^Traceback' -e '^ERROR' .venv/audit.log; then \
	    echo 'make audit: not every package could be looked up, so nothing is known of them; it needs the network (.venv/audit.log)' >&2; \
	else cat .venv/audit.log >&2; fi; exit $$status

fuzz: .venv/fuzz.stamp
	$(BIN)/python benchmarks/fuzz/run.py --seconds 60

slicer: .venv/core.stamp
	rm -rf out/slicer
	mkdir -p out/slicer
	cp -r slicer/MICS out/slicer/MICS
	find out/slicer -name __pycache__ -prune -exec rm -r {} +
	$(BIN)/python -m pip wheel -q --no-deps -w out/slicer/MICS/Resources .
	$(BIN)/python -m zipfile -c out/slicer/MICS.zip out/slicer/MICS

bundle: .venv/all.stamp
	rm -rf out/bundle
	$(BIN)/python bundle/make_bundle.py out/bundle/mics
	$(BIN)/python -m zipfile -c out/bundle/mics.zip out/bundle/mics

# One pip command each, with the pins: nothing can pull in another torch first.
.venv/core.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

.venv/all.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,docs,train,cluster,baselines,dicom,x5,mesh]'
	touch $@

.venv/fuzz.stamp .venv/release.stamp: .venv/all.stamp
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[$(basename $(notdir $@))]'
	touch $@

.venv/oldest/stamp: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv/oldest
	.venv/oldest/bin/python -m pip install -q -c constraints-oldest.txt -e '.[dev]'
	touch $@
