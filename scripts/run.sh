#!/usr/bin/env bash
# Start bin/nbserv with a Python kernel of its own. Arguments are further flags for nbserv.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

make_venv "$root/.venv" "$root/scripts/requirements-run.txt"
export PATH="$root/.venv/bin:$PATH"
export JUPYTER_PATH="$root/.venv/share/jupyter${JUPYTER_PATH:+:$JUPYTER_PATH}"
dir=$PWD
[ -d "$root/examples" ] && dir=$root/examples
exec "$root/bin/nbserv" --root-dir="$dir" "$@"
