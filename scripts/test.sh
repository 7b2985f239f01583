#!/usr/bin/env bash
# go test with real kernels and clients. Arguments go to go test.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_go
settings=$("$root/scripts/test-setup.sh")
eval "$settings"
say "kernels required: $NBSERV_REQUIRE_KERNELS"
cd "$root"
race=-race
if [ "$(go env CGO_ENABLED)" != 1 ] || ! command -v "$(go env CC)" >/dev/null; then
	race=
	say "skipped: the race detector (it needs a C compiler)"
fi
exec go test $race -shuffle=on -timeout=30m "$@"
