package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nbserv/nbserv/kernel"
)

// durationValue is a duration as Go writes it, or a number of seconds as Jupyter does.
type durationValue time.Duration

func (d *durationValue) String() string { return time.Duration(*d).String() }
func (d *durationValue) Type() string   { return "duration" }

func (d *durationValue) Set(s string) error {
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		return d.seconds(n)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is neither a duration (90s, 5m) nor a number of seconds", s)
	}
	*d = durationValue(v)
	return nil
}

// maxSeconds keeps seconds within what a time.Duration can hold.
const maxSeconds = 1e9

func (d *durationValue) seconds(n float64) error {
	if !(n > -maxSeconds && n < maxSeconds) {
		return fmt.Errorf("%v seconds are too many", n)
	}
	*d = durationValue(n * float64(time.Second))
	return nil
}

// bytesValue is a number of bytes, plain or with a unit.
type bytesValue int64

func (b *bytesValue) String() string { return strconv.FormatInt(int64(*b), 10) }
func (b *bytesValue) Type() string   { return "bytes" }

func (b *bytesValue) Set(s string) error {
	n, err := kernel.ParseBytes(s)
	if err == nil {
		*b = bytesValue(n)
	}
	return err
}

func setDuration(d *time.Duration, raw json.RawMessage) error {
	var n float64
	if json.Unmarshal(raw, &n) == nil {
		return (*durationValue)(d).seconds(n)
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return fmt.Errorf("should be a number of seconds, or a duration as a JSON string")
	}
	return (*durationValue)(d).Set(s)
}

func setBytes(n *int64, raw json.RawMessage) error {
	if json.Unmarshal(raw, n) == nil {
		return nil
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return errors.New(`should be a whole number of bytes, or one with a unit as a JSON string`)
	}
	return (*bytesValue)(n).Set(text)
}
