#!/usr/bin/env bash
# Set up what the bench measures against: the tests' virtual environment, which has the peer and its kernel at the
# pinned versions, and the synthetic kernel. Prints the path of that environment's Python.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_go
venv=$root/.venv-test
make_venv "$venv" "$root/scripts/requirements-test.txt"
(cd "$root" && CGO_ENABLED=0 go build -trimpath -o bin/ ./e2e/bench ./e2e/synthkernel)
printf '%s\n' "$venv/bin/python"
