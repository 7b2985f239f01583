//go:build !linux

package kernel

import (
	"errors"
	"time"
)

// limitData is for Linux: elsewhere nobody can limit another process.
func limitData(int, int64) error {
	return errors.New("this system cannot limit the memory of another process")
}

func processUsage(Record) (Usage, bool) { return Usage{}, false }
func cpuTime(int) time.Duration         { return 0 }
func residentBytes(int) int64           { return 0 }
