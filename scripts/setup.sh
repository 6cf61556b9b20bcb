# Sourced by the other scripts: makes .venv in the checkout with the project in it, if it isn't there already.
# The file .venv/.installed-* holds the folder and pyproject.toml that were installed: a second start only compares it.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

# Prints the first Python >= 3.11 found; JAXSTYLE_PYTHON names another one.
find_python() {
    local candidate
    for candidate in ${JAXSTYLE_PYTHON:-python3 python python3.13 python3.12 python3.11 python3.14}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "jaxstyle needs Python 3.11 or newer; set JAXSTYLE_PYTHON to one" >&2
    return 1
}

what_is_here() {
    echo "$PWD"
    cat pyproject.toml
}

is_installed() {
    [ -x .venv/bin/python ] && what_is_here | cmp -s - ".venv/.installed-$1"
}

# install EXTRA: the project in editable form, with an extra's packages; dev has those of the others.
install() {
    local extra=$1
    is_installed dev || is_installed "$extra" && return
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        local python
        python=$(find_python) || exit 2
        echo "making .venv with $("$python" --version)" >&2
        "$python" -m venv --clear .venv || exit 2
    fi
    echo "installing jaxstyle[$extra] into .venv" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$extra]" >&2 || exit 2
    what_is_here >".venv/.installed-$extra"
}
