# Sourced by the other scripts: makes .venv in the checkout with the project in it, if it isn't there already.
# The file .venv/.installed-* holds the folder and pyproject.toml that were installed: a second start only compares it.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

# Prints the newest Python that jax supports and that can make a virtual environment: jax is faster on newer ones.
# JAXSTYLE_PYTHON names another one. Nothing has been run on 3.14 yet, so it comes after 3.13.
find_python() {
    local candidate
    for candidate in ${JAXSTYLE_PYTHON:-python3.13 python3.14 python3.12 python3.11 python3 python}; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null
        then
            echo "$candidate"
            return
        fi
    done
    echo "jaxstyle needs Python 3.11 to 3.14 with venv (Debian: python3-venv); set JAXSTYLE_PYTHON to one" >&2
    return 1
}

what_is_here() {
    echo "$PWD"
    cat pyproject.toml
}

# is_installed SET...: whether one of the sets is installed, as pyproject.toml has it now.
is_installed() {
    local set
    [ -x .venv/bin/python ] || return
    for set in "$@"; do
        what_is_here | cmp -s - ".venv/.installed-$set" && return
    done
    return 1
}

# install SET: the project in editable form with what it needs (base), and what reads TensorFlow Datasets (tfds), and
# what the tests and pages need (dev).
install() {
    local set=$1 sets what=(-e .)
    case $set in
    base) sets="base tfds dev" ;;
    tfds) sets="tfds dev" what=(-e ".[tfds]") ;;
    dev) sets="dev" what=(-e ".[h5py,tfds,tensorboard,optuna,parquet,pandas]" --group dev) ;;
    esac
    # shellcheck disable=SC2086
    is_installed $sets && return
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        local python
        python=$(find_python) || exit 2
        echo "making .venv with $("$python" --version)" >&2
        "$python" -m venv --clear .venv || exit 2
    fi
    echo "installing jaxstyle ($set) into .venv" >&2
    # Groups need pip 25.1, which Python 3.11 to 3.13 don't come with.
    [ "$set" != dev ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check "pip>=25.1" >&2 || exit 2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "${what[@]}" >&2 || exit 2
    what_is_here >".venv/.installed-$set"
}
