# What the scripts share. To be sourced, by bash, after `set -euo pipefail`.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf '%s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# can_apt: may this user install Debian packages here?
can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# apt_install PACKAGE...: quietly, with the lists fetched once per run.
apt_install() {
	export DEBIAN_FRONTEND=noninteractive
	if [ -z "${apt_updated:-}" ]; then
		apt-get update -qq >/dev/null || return 1
		apt_updated=1
	fi
	apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# find_python: prints a Python that runs and is new enough for the pinned packages. A name on PATH may be a
# version manager's shim that runs nothing, so each is tried.
find_python() {
	local p
	for p in "${PYTHON:-}" python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11; do
		[ -n "$p" ] || continue
		if "$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
			"$p" -c 'import sys; print(sys.executable)'
			return
		fi
	done
	return 1
}

# make_venv DIR REQUIREMENTS [PIP-OPTION...]: a virtual environment with the pinned packages; a no-op when it is already there. One with
# other packages is changed in place, since somebody may be using it; one that does not work is made anew.
make_venv() {
	local dir=$1 reqs=$2 python stamp
	shift 2
	stamp=$(cksum <"$reqs")
	if [ -x "$dir/bin/python" ] && "$dir/bin/python" -c '' 2>/dev/null; then
		[ "$(cat "$dir/.stamp" 2>/dev/null)" != "$stamp" ] || return 0
		say "changing $dir to what $reqs asks for"
	else
		if ! python=$(find_python); then
			can_apt && apt_install python3 python3-venv || true
			python=$(find_python) || die "Python 3.11 or newer is needed. On Debian: apt-get install python3 python3-venv (or set PYTHON)."
		fi
		say "setting up $dir with $("$python" --version)"
		rm -rf "$dir"
		if ! "$python" -m venv "$dir" >/dev/null 2>&1; then
			# Debian keeps venv's ensurepip in a package of its own.
			can_apt && apt_install python3-venv || true
			rm -rf "$dir"
			"$python" -m venv "$dir" >&2 || die "$python cannot make virtual environments. On Debian: apt-get install python3-venv."
		fi
	fi
	"$dir/bin/python" -m pip install --quiet --disable-pip-version-check "$@" -r "$reqs" >&2 ||
		die "the packages of $reqs could not be installed (see above); rm -r $dir starts anew"
	printf '%s\n' "$stamp" >"$dir/.stamp"
}

# need_go: there is a Go that can build this module (it fetches the right toolchain itself from 1.21 on).
need_go() {
	command -v go >/dev/null || [ ! -x /usr/local/go/bin/go ] || PATH=$PATH:/usr/local/go/bin
	command -v go >/dev/null || die "Go is needed (https://go.dev/dl/); it was not found on PATH."
}
