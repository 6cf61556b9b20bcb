#!/usr/bin/env bash
# Sets up what is missing, then lints, checks types and runs the tests; arguments go to pytest.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
install dev
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check .
.venv/bin/python -m pyright --pythonpath .venv/bin/python
.venv/bin/python -m pytest --numprocesses auto "$@"
