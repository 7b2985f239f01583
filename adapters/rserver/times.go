package rserver

import (
	"strings"
	"time"
)

// isDate tells whether s is a date as ISO 8601 writes it, or null.
func isDate(s shape) bool {
	if s.kind == '0' {
		return true
	}
	_, err := time.Parse(time.DateOnly, s.string)
	return err == nil
}

// isTime tells whether s is a moment: a date, or a date and a time, in UTC whether it says so or not; or null.
func isTime(s shape) bool {
	if s.kind == '0' || isDate(s) {
		return true
	}
	for _, layout := range []string{"2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999"} {
		if _, err := time.Parse(layout, strings.TrimSuffix(s.string, "Z")); err == nil {
			return true
		}
	}
	return false
}
