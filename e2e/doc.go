// Package e2e drives the built binary with real clients and real kernels, over sockets only. Its programs in
// clients are run with the Python that NBSERV_TEST_PYTHON names, which scripts/test-setup.sh prepares.
package e2e
