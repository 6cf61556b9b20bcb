#!/usr/bin/env bash
# One command for a fresh accelerator: checks compiled text, times steps, compares plans with what is taken, makes
# sweeps and runs the tests marked `accelerator`, by pytest. Prints a table, and writes on_device.json. It takes the
# python that JAXSTYLE_PYTHON names, else that of .venv, else python3, with the jax that it has.
#
#   scripts/on_device.sh                     # at most 8 minutes
#   scripts/on_device.sh --short             # what it would do, small: minutes on a CPU
#   scripts/on_device.sh --wheels DIR        # first installs from DIR, without network, what is missing
#   scripts/on_device.sh --json FILE         # writes FILE instead of on_device.json
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${JAXSTYLE_PYTHON:-python3}
if [ -z "${JAXSTYLE_PYTHON:-}" ] && [ -x .venv/bin/python ]; then
    python=.venv/bin/python
fi
arguments=()
while [ $# -gt 0 ]; do
    case $1 in
    --wheels)
        [ $# -gt 1 ] && [ -d "$2" ] || { echo "on_device.sh: --wheels needs a folder of wheels" >&2; exit 2; }
        # jax itself stays the machine's own, with the libraries of its accelerator.
        "$python" -c 'import tomllib
for name in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]:
    if not name.startswith("jax>"):
        print(name)' >on_device.txt
        "$python" -m pip install --quiet --no-index --find-links "$2" -r on_device.txt pytest
        rm on_device.txt
        shift 2
        ;;
    *)
        arguments+=("$1")
        shift
        ;;
    esac
done
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
for name in jax pytest; do
    "$python" -c "import $name" 2>/dev/null || {
        echo "on_device.sh: $python has no $name: install it there, or name another python by JAXSTYLE_PYTHON" >&2
        exit 2
    }
done
exec "$python" scripts/on_device.py ${arguments[@]+"${arguments[@]}"}
