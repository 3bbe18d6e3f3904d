# Every target creates the virtual environment if it is missing.
PYTHON ?= python3
RUN := .venv/bin/python -m

.PHONY: demo train test lint

demo: .venv/ready  ## train and test on the built-in corpus
	$(RUN) sentiment.train data=demo

train: .venv/ready  ## make train ARGS="data.maxlen=200 optimizer=rmsprop"
	$(RUN) sentiment.train $(ARGS)

test: .venv/ready  ## make test ARGS="-m slow"
	$(RUN) pytest -n 2 --dist loadfile $(ARGS)

lint: .venv/ready
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is required; set PYTHON=" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(RUN) pip install --disable-pip-version-check -r requirements.lock -e .
	@touch $@
