//go:build !linux

package e2e

import "errors"

func mountSmall(string, int) error { return errors.ErrUnsupported }

func unmountSmall(string) error { return nil }
