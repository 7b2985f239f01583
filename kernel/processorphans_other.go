//go:build !linux

package kernel

import "context"

// Run returns when ctx ends: orphans of kernels are the operating system's here.
func (l *Local) Run(ctx context.Context) { <-ctx.Done() }
