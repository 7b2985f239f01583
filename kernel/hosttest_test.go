package kernel_test

import (
	"testing"

	"github.com/nbserv/nbserv/kernel"
	"github.com/nbserv/nbserv/kernel/hosttest"
)

func TestManagerIsAHost(t *testing.T) {
	hosttest.Run(t, func(_ *testing.T, m *kernel.Manager) kernel.Host { return m })
}
