# make demo   the main job, end to end, on a data set that needs no download
# make test   the default test suite, a file at a time on every core
# make lint   ruff and mypy
# make lock   pin the dependencies anew, without any index address

PYTHON ?= python3.11
VENV := .venv
READY := $(VENV)/.ready

.PHONY: demo test lint lock clean

demo: $(READY)
	$(VENV)/bin/pipeline demo

test: $(READY)
	$(VENV)/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# The project is installed editable, so that only a new lock or pyproject asks for a new .venv.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --require-hashes -r requirements.lock
	$(VENV)/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)

lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --extra dev \
		--no-header pyproject.toml -o requirements.lock --upgrade

clean:
	rm -rf $(VENV)
