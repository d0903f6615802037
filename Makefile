# Two commands do all the set-up: `make demo` and `make test`.
# Needs Python 3.11 and make; everything else goes into .venv.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Where every pinned package has a wheel: pip's resolver does not say which of them is missing.
SUPPORTED := Python 3.11 on Linux with an x86-64 processor (on Windows in WSL 2) or on a Mac with Apple silicon
PLATFORM := "Python %d.%d on %s %s" % (*sys.version_info[:2], platform.system(), platform.machine())
IS_SUPPORTED := sys.version_info[:2] == (3, 11) and (platform.system(), platform.machine()) in {("Linux", "x86_64"), ("Darwin", "arm64")}
RUN := .venv/bin/python
READY := .venv/.installed
# A file of tests stays in one process, and the files that take minutes are begun first.
SIDE_BY_SIDE := -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: help demo train serve test chromium lint clean

help:
	@echo "make demo   train a small run in the background and serve what it publishes"
	@echo "make train  train; options: make train ARGS='--skip-asha --max-iters 100'"
	@echo "make serve  serve the newest policy; options: make serve ARGS='--port 9000'"
	@echo "make test   run the tests; as root on Debian it installs chromium first, for those of the page"
	@echo "make lint   check formatting, style, types, the Dockerfile and the documentation"
	@echo "make clean  remove the environment and caches, but no results"

demo: $(READY)
	@$(RUN) -m app.demo $(ARGS)

train: $(READY)
	@echo "training; Ctrl-C stops it, the same --run-name continues it"
	@$(RUN) -m training.train $(ARGS)

serve: $(READY)
	@$(RUN) -m app.local $(ARGS)

test: $(READY)
	@$(MAKE) --silent chromium 2>/dev/null || echo "without chromium the page is not tested in a browser"
	@echo "running the tests (some ten minutes on two cores)"
	@$(RUN) -m pytest $(SIDE_BY_SIDE) $(ARGS)

# The browser that the page is tested in, as Debian packages it.
chromium:
	@command -v chromium >/dev/null || { echo "installing chromium (once)"; \
		{ apt-get update && apt-get install -y --no-install-recommends chromium; } >/dev/null 2>&1; }

lint: $(READY)
	@echo "checking format, style, types, the Dockerfile and the documentation"
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/hadolint Dockerfile
	@$(RUN) -m pytest -q tests/test_docs.py -k "links or commands"

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache

$(READY): requirements.txt requirements-dev.txt constraints.txt
	@"$(PYTHON)" -c 'import platform, sys; sys.exit(not ($(IS_SUPPORTED)))' 2>/dev/null || \
		{ echo "this project needs $(SUPPORTED); found: $$("$(PYTHON)" -c 'import platform, sys; print($(PLATFORM))' 2>/dev/null || echo "no Python"); set PYTHON=/path/to/python3.11 if you have one"; exit 1; }
	@echo "making the environment in .venv (once; it downloads PyTorch and Ray)"
	@test -x $(RUN) || "$(PYTHON)" -m venv .venv
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	@touch $(READY)
