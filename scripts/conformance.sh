#!/usr/bin/env bash
# Run the own tests of jupyter_server and jupyterlab_server against bin/nbserv. Arguments choose areas; without any, all that are claimed.
# Fails when fewer than MIN_PERCENT of the listed ids pass.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

suite=${CONFORMANCE_SUITE:-$root/../shared/conformance}
min=${MIN_PERCENT:-95}
areas=(sessions kernels kernels-websocket kernelspecs contents checkpoints files-and-view paths-trailing-slash
	api-status me-identity auth-login-logout auth-endpoints-with-token
	lab-settings lab-workspaces lab-page lab-themes lab-listings lab-translations lab-licenses)
[ $# = 0 ] || areas=("$@")
[ -x "$suite/run.sh" ] || [ -f "$suite/run.sh" ] || die "the conformance suite is not at $suite (CONFORMANCE_SUITE names another place)"

export CONFORMANCE_CACHE=${CONFORMANCE_CACHE:-$root/.cache/conformance}
export NBSERV_LABEL=${NBSERV_LABEL:-nbserv}
export NBSERV_CMD="$root/bin/nbserv --port={port} --port-retries=0 --token={token} --root-dir={root_dir} --base-url={base_url} --config={config_file}"
export PYTHON=${PYTHON:-$(find_python)} || die "Python 3.11 or newer is needed (or set PYTHON)"
unset NBSERV_ROOT NBSERV_URL

args=()
for a in "${areas[@]}"; do args+=(-a "$a"); done
out=$(mktemp)
trap 'rm -f "$out"' EXIT
# The suite's own status counts every failure; the score below decides.
bash "$suite/run.sh" "${args[@]}" 2>&1 | tee "$out" || true

# run.sh ends with one line per area and "total  passed N, failed M, …", counting what did not run as well.
total=$(grep -E '^total +' "$out" | tail -n 1) || die "the suite gave no score"
for a in "${areas[@]}"; do
	grep -qE "^$a +" "$out" || die "the suite ran nothing of $a"
done
passed=$(sed -nE 's/.*passed ([0-9]+).*/\1/p' <<<"$total")
all=$(grep -oE ' [0-9]+' <<<"$total" | awk '{n += $1} END {print n + 0}')
[ "${all:-0}" -gt 0 ] || die "the suite ran nothing"
percent=$((100 * ${passed:-0} / all))
say "conformance: ${passed:-0} of $all ids pass ($percent %, at least $min % are asked for)"
[ "$percent" -ge "$min" ]
