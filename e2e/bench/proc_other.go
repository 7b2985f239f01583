//go:build !linux

package main

import (
	"errors"
	"time"
)

// errLinux: what a process costs is read from Linux's /proc and CPU clocks.
var errLinux = errors.New("the bench measures on Linux only")

func cpuTime(int) (time.Duration, error) { return 0, errLinux }
func memoryOfAll([]int) (float64, error) { return 0, errLinux }

func memory(int) (now, peak float64, err error) { return 0, 0, errLinux }
func resetPeak(int) error                       { return errLinux }
func busyShare(time.Duration) float64           { return 0 }
func processor() string                         { return "unknown processor" }
