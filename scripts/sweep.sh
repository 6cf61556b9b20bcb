#!/usr/bin/env bash
# Sets up what is missing, then runs `jaxstyle sweep`: on the sample images, or with the arguments given.
set -u
here=$PWD
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
case " $*" in
*" tfds:"*) install tfds ;;
*) install base ;;
esac
python=$PWD/.venv/bin/python
cd "$here" || exit 2 # so that the arguments' paths mean what they say
[ $# -gt 0 ] || set -- sample:temple sample:swirls
exec "$python" -m jaxstyle.app.cli sweep "$@"
