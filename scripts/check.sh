#!/usr/bin/env bash
# Sets up what is missing, then lints, checks types, makes the pages of the docstrings (build/api/index.html) and runs
# the tests; arguments go to pytest.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
install dev
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check .
.venv/bin/python -m pyright --pythonpath .venv/bin/python
.venv/bin/python scripts/api_pages.py build/api
.venv/bin/python -m pytest --numprocesses auto --dist loadgroup "$@"
