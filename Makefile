# `make demo` and `make test` do all their set-up themselves: they need Python 3.11 or newer, pip, make and a C compiler.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help demo test lint format install clean

help:
	@echo "make demo     galaxies from one photograph: data set, growing GAN, report (about five minutes on two cores)"
	@echo "make test     ruff, mypy and the whole test suite"
	@echo "make lint     ruff and mypy only"
	@echo "make format   let ruff format and sort the code"
	@echo "make install  only make the environment in $(VENV)"
	@echo "make clean    remove the environment and the demo's data and run"

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else f"error: Python 3.11 or newer is needed, $(PYTHON) is {sys.version.split()[0]}; call make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[demo,test]'
	@# spandrel asks for torchvision, which its networks here do not use and which has to fit the build of torch exactly.
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps spandrel==0.4.2
	@touch $(READY)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A process for each core, so one thread in each: threads that wait for each other would take longer than one alone.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile

# The demo: one photograph of the Hubble telescope, which comes inside scikit-image, cut into tiles.
data/galaxies.h5: | $(READY)
	@mkdir -p data
	$(BIN)/toolkit make-pyramid "$$($(BIN)/python -c 'import pathlib, skimage; print(pathlib.Path(skimage.__file__).parent / "data" / "hubble_deep_field.jpg")')" \
		data/galaxies.h5 --tile 64 --stride 8 --resolution 32

demo: $(READY) data/galaxies.h5
	$(BIN)/python training/run.py --preset demo --data data/galaxies.h5 --out runs/demo
	$(BIN)/metrics report runs/demo
	@echo "Open runs/demo/report.html in a browser."

clean:
	rm -rf $(VENV) data/galaxies.h5 data/galaxies.h5.ledger.jsonl runs/demo
