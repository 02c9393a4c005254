# Everything here needs only make and a Python with its venv module; the rest goes into .venv/, once.
#
#   make demo         gradient checks of every cell, two minutes of training, a sample, a picture
#   make test         the tests, against values recorded from PyTorch
#   make test-proof   the tests that take longer: every mutant, every planted bug by every method, twenty kills
#   make test-device  the GPU path without a GPU: kernels on a simulator, the engine on a CuPy look-alike (needs g++)
#   make test-docs    the Python of every page, and every notebook
#   make test-oracle  the live comparison with PyTorch and Keras (a large download)
#   make test-browser the explorer's page: built anew to the same bytes, opened in a headless Chromium, keys and accessibility
#   make lint         ruff, mypy, and the form of public docstrings
#   make explorer     build the program of the explorer's page from its source (node comes from PyPI)
#   make docs         the site, in build/site/html
#   make slides       build/slides.html, the slides of docs/class/lesson_plan.md: one file, offline
#   make bench        time of a training step beside PyTorch's, JAX's and others'
#   make clean        remove caches and .venv/; runs/ stays

PYTHON ?= python3
VENV ?= .venv
# Test processes side by side.
JOBS ?= 2
# Handed to pytest, such as ARGS="-k gru -x"; by `make bench` to its script, such as ARGS="--threads 2".
ARGS ?=
# Where PyTorch's CPU build is to be found, for a smaller download: TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
# Where the demo writes, or runs/demo-2 and so on where an earlier run lies; and how long it trains.
DEMO_RUN ?= runs/demo
DEMO_MINUTES ?= 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
# NumPy's and PyTorch's libraries each start a thread a core, and these get in each other's way; so do test processes
# side by side.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
# Tests start a hundred processes; where Python is told to keep no bytecode, each would compile every module again.
PYTEST := $(ONE_THREAD) PYTHONDONTWRITEBYTECODE= HYPOTHESIS_PROFILE=$${HYPOTHESIS_PROFILE:-ci} $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

.PHONY: help demo test test-proof test-nojit test-device test-oracle test-browser test-docs explorer lint format docs slides bench clean
help:
	@sed -n 's/^#   //p' Makefile

# What training needs is compiled while the plain kernels are checked.  An earlier run is never overwritten.
demo: $(VENV)/.demo
	@$(BIN)/bptt warmup --cell lstm --dtype float32 >/dev/null & \
	echo "bptt gradcheck --backend numpy:reference"; $(BIN)/bptt gradcheck --backend numpy:reference || exit; wait
	@run=$(DEMO_RUN); n=2; while [ -e $$run ]; do run=$(DEMO_RUN)-$$n; n=$$((n + 1)); done; set -e; \
	echo "bptt train --minutes $(DEMO_MINUTES) --out $$run"; \
	$(ONE_THREAD) $(BIN)/bptt train --minutes $(DEMO_MINUTES) --out $$run; \
	echo; echo "bptt sample $$run --prompt 'The '"; $(BIN)/bptt sample $$run --prompt "The "; \
	echo; echo "Checkpoint: $$run/best.safetensors   picture of the loss: $$run/loss.png"

# The kernels are compiled ahead, each dtype by a process of its own: test processes side by side would compile them twice.
test: $(VENV)/.test
	printf 'float32\nfloat64\n' | xargs -P 2 -I{} $(BIN)/bptt warmup --dtype {}
	$(PYTEST) -m "not device and not proof and not browser and not docs" $(ARGS)

test-proof: $(VENV)/.test
	$(PYTEST) -m "proof and not browser" $(ARGS)

# A smaller set with the kernels as plain Python: what Numba compiles is also right uncompiled.
UNCOMPILED := $(addprefix tests/test_,kernels.py compiled_cells.py own_cells.py recurrent.py layers.py gradcheck.py truncation.py recorded_layers.py)
test-nojit: $(VENV)/.test
	NUMBA_DISABLE_JIT=1 HYPOTHESIS_PROFILE=few $(PYTEST) -m "not slow and not oracle and not device" $(UNCOMPILED) $(ARGS)

test-device: $(VENV)/.device
	@command -v g++ >/dev/null || \
	    { echo "Error: no g++ here for the simulator of CUDA kernels; install it (on Debian and Ubuntu: apt install g++)" >&2; exit 1; }
	$(PYTEST) -m "device and not oracle" $(ARGS)

test-oracle: $(VENV)/.oracle
	BPTT_REQUIRE_ORACLE=1 $(PYTEST) -m oracle $(ARGS)

test-browser: $(VENV)/.browser
	$(PYTEST) -m browser $(ARGS)

# The pages and notebooks: their Python runs, and prints what they show.
test-docs: $(VENV)/.test
	$(PYTEST) -m docs $(ARGS)

explorer: $(VENV)/.browser
	$(BIN)/python tests/explorer_bundle.py

lint: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python docs/check_docstrings.py

format: $(VENV)/.test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.docs
	$(BIN)/python docs/site/build.py $(ARGS)

slides: $(VENV)/.demo
	$(BIN)/python docs/class/make_slides.py

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.speed.compare $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- the virtual environment: one stamp for each set of dependencies, made again when these change -------------------

$(VENV)/.demo: EXTRA :=
$(VENV)/.test: EXTRA := [test]
$(VENV)/.device: EXTRA := [test,device]
$(VENV)/.oracle: EXTRA := [test,oracle]
$(VENV)/.bench: EXTRA := [bench]
$(VENV)/.browser: EXTRA := [test,browser]
$(VENV)/.docs: EXTRA := [docs]

$(VENV)/.demo $(VENV)/.test $(VENV)/.device $(VENV)/.oracle $(VENV)/.bench $(VENV)/.browser $(VENV)/.docs: setup.cfg pyproject.toml | $(VENV)/.made
	@echo "Installing bptt-engine$(EXTRA) into $(VENV)/ (once; a minute or more)"
	@$(INSTALL) --editable '.$(EXTRA)'
	@touch $@

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || \
	    { echo "Error: no '$(PYTHON)' here; install Python 3.11 or later, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Error: '$(PYTHON)' is older than Python 3.11; name a newer one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "Error: '$(PYTHON)' has no venv module; install it (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@
