#!/usr/bin/env bash
# Sets up what is missing, then lints, checks spelling and types, makes the pages (build/pages/index.html) and runs
# the tests; arguments go to pytest.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
install dev
.venv/bin/python -m ruff check .
.venv/bin/python -m ruff format --check .
.venv/bin/python -m codespell_lib
.venv/bin/python -m pyright --pythonpath .venv/bin/python
NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --quiet --strict -f scripts/pages/mkdocs.yml -d "$PWD/build/pages"
.venv/bin/python -m pytest --numprocesses auto --dist loadgroup --durations 10 "$@"
