package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the CPU time that all threads of a process have used, those that ended included. /proc/PID/stat has
// it in steps of 10 ms, the process's CPU clock in nanoseconds.
func cpuTime(pid int) (time.Duration, error) {
	var ts unix.Timespec
	// clock_getcpuclockid(3): the process in the upper bits, 2 for the scheduler's clock.
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// memory is a process's resident memory in bytes, now and at its peak since resetPeak.
func memory(pid int) (now, peak float64, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for l := range strings.Lines(string(raw)) {
		name, value, _ := strings.Cut(l, ":")
		kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		if err != nil {
			continue
		}
		switch name {
		case "VmRSS":
			now = kb * 1024
		case "VmHWM":
			peak = kb * 1024
		}
	}
	return now, peak, nil
}

// memoryOfAll is what processes of one program have resident together, in bytes: the pages of its file are counted once.
func memoryOfAll(pids []int) (float64, error) {
	private, file := 0.0, 0.0
	for _, pid := range pids {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, err
		}
		for l := range strings.Lines(string(raw)) {
			name, value, _ := strings.Cut(l, ":")
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			if err != nil {
				continue
			}
			switch name {
			case "RssAnon", "RssShmem":
				private += kb * 1024
			case "RssFile":
				file = max(file, kb*1024)
			}
		}
	}
	return private + file, nil
}

// resetPeak forgets a process's peak. proc(5): writing 5 to clear_refs.
func resetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5\n"), 0)
}

// busyShare is the share of all processors' time, in per cent, that was used during d.
func busyShare(d time.Duration) float64 {
	idle, all := jiffies()
	time.Sleep(d)
	idle2, all2 := jiffies()
	if all2 == all {
		return 0
	}
	return 100 * (1 - (idle2-idle)/(all2-all))
}

// jiffies are the machine's idle and total processor times. proc(5), the first line of /proc/stat.
func jiffies() (idle, all float64) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	for i, f := range strings.Fields(first)[1:] {
		n, _ := strconv.ParseFloat(f, 64)
		if i < 8 { // guest times are counted in the user's already
			all += n
		}
		if i == 3 || i == 4 { // idle, iowait
			idle += n
		}
	}
	return idle, all
}

// processor is the processor's name.
func processor() string {
	raw, _ := os.ReadFile("/proc/cpuinfo")
	for l := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
