#!/usr/bin/env bash
# Set up what the tests use: a virtual environment with kernels and clients, and R when it may be installed.
# Prints shell assignments for the tests' environment; says on stderr what is missing, and why.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

venv=$root/.venv-test
kernels=python3
make_venv "$venv" "$root/scripts/requirements-test.txt"

if command -v bash >/dev/null; then
	[ -e "$venv/share/jupyter/kernels/bash/kernel.json" ] || "$venv/bin/python" -m bash_kernel.install --sys-prefix >/dev/null 2>&1
	kernels+=,bash
fi

have_ir() { command -v Rscript >/dev/null && Rscript --vanilla -e 'library(IRkernel)' >/dev/null 2>&1; }
if ! have_ir && [ -z "${NBSERV_NO_R:-}" ]; then
	if can_apt; then
		say "installing R and its kernel (r-base-core, r-cran-irkernel)"
		apt_install r-base-core r-cran-irkernel || say "apt-get could not install R"
	else
		say "R: not root on a Debian machine, so it is not installed"
	fi
fi
if have_ir; then
	if [ ! -e "$venv/share/jupyter/kernels/ir/kernel.json" ]; then
		PATH="$venv/bin:$PATH" Rscript --vanilla -e "IRkernel::installspec(user = FALSE, prefix = '$venv')" >/dev/null 2>&1
	fi
	kernels+=,ir
else
	say "skipped: the tests with R (they need Debian's r-base-core and r-cran-irkernel, or R with IRkernel on PATH)"
fi

# bubblewrap confines kernels. It may be there and not work: some containers let nobody make namespaces.
can_confine() { command -v bwrap >/dev/null && bwrap --unshare-user --unshare-net --ro-bind / / true 2>/dev/null; }
if ! command -v bwrap >/dev/null && can_apt; then
	say "installing bubblewrap"
	apt_install bubblewrap || say "apt-get could not install bubblewrap"
fi
if can_confine; then
	sandbox=1
else
	say "skipped: the tests of confined kernels (bubblewrap is not installed, or does not work here)"
fi

"$root/scripts/browser-setup.sh"

# A TeX for one test, only for those who ask for it: 140 MB. PDFs that a browser prints are tested anyway.
have_tex() { command -v xelatex && command -v pandoc; } >/dev/null
if ! have_tex && [ -n "${NBSERV_WITH_TEX:-}" ] && can_apt; then
	say "installing TeX and pandoc"
	apt_install pandoc texlive-xetex texlive-fonts-recommended texlive-plain-generic || say "apt-get could not install TeX"
fi
have_tex || say "skipped: the test of PDFs that TeX makes (xelatex and pandoc are not installed; NBSERV_WITH_TEX=1 installs them on Debian)"

# Clients of the code interpreter, in an environment of their own: they want other versions of what the others use.
agents=$root/.venv-agents
if ! (make_venv "$agents" "$root/scripts/requirements-agents.txt" --no-deps); then
	say "skipped: the tests with LangChain and Semantic Kernel (their packages could not be installed)"
	agents=
fi

# A language server and jupyterlab-lsp, in an environment of their own: what all other tests and benchmarks load is a JupyterLab without.
lsp=$root/.venv-lsp
if ! (make_venv "$lsp" "$root/scripts/requirements-lsp.txt" --no-deps); then
	say "skipped: the tests with a language server (its packages could not be installed)"
	lsp=
fi

# The tests' own home: what a user has installed or configured must not change what they see.
printf 'export PATH=%q\n' "$venv/bin:$PATH"
printf 'export JUPYTER_PATH=%q\n' "$venv/share/jupyter"
printf 'export NBSERV_REQUIRE_KERNELS=%q\n' "$kernels"
printf 'export NBSERV_REQUIRE_SANDBOX=%q\n' "${sandbox:-}"
printf 'export NBSERV_TEST_AGENTS_PYTHON=%q\n' "${agents:+$agents/bin/python}"
printf 'export NBSERV_TEST_LSP=%q\n' "$lsp"
printf 'export NBSERV_TEST_PYTHON=%q\n' "$venv/bin/python"
