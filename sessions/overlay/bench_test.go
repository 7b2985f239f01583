package overlay_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nbserv/nbserv/sessions/overlay"
)

// What a read of a notebook costs that has nothing but its file: without a kernel, and with one that does nothing.
func BenchmarkNothingToAdd(b *testing.B) {
	w := newWorld(b, overlay.Config{})
	w.write("alone.ipynb", cells("x"))
	w.write("idle.ipynb", cells("x"))
	w.open("idle.ipynb")
	for _, name := range []string{"alone.ipynb", "idle.ipynb"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if w.keeper.Version(b.Context(), name) != "" {
					require.Fail(b, "there is something")
				}
			}
		})
	}
}
