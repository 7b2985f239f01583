#!/usr/bin/env bash
# Measure bin/nbserv beside jupyter_server; arguments go to the bench. BENCH names the groups to measure
# ("relay fanout"), BENCH_ROUNDS how often.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ "$(uname -s)" = Linux ] || die "the bench reads what processes cost from Linux's /proc"
python=$("$root/scripts/bench-setup.sh")
eval "$("$root/scripts/browser-setup.sh")" # it exports what the scripts of e2e/browser look for
exec "$root/bin/bench" -node "${NBSERV_TEST_CHROMIUM:+$NBSERV_TEST_NODE}" -browser "$root/e2e/browser" -nbserv "$root/bin/nbserv" -synthkernel "$root/bin/synthkernel" -python "$python" \
	-out "$root/.cache/bench" -groups "${BENCH:-}" -rounds "${BENCH_ROUNDS:-5}" "$@"
