//go:build !linux

package cgroup

import (
	"os/exec"
	"time"
)

// Tree and Group are Linux's: nobody has one here.
type (
	Tree  struct{}
	Group struct{}
)

// Open finds no place for groups.
func Open(string) (*Tree, error) { return nil, ErrNone }

func (*Tree) String() string                     { return "" }
func (*Tree) IDs() []string                      { return nil }
func (*Tree) Close()                             {}
func (*Tree) New(string, Limits) (*Group, error) { return nil, ErrNone }
func (*Tree) Find(string) *Group                 { return nil }

// Load finds no group.
func Load([]string) *Group { return nil }

func (*Group) Paths() []string               { return nil }
func (*Group) Limits() Limits                { return Limits{} }
func (*Group) Memory() (int64, uint64, bool) { return 0, 0, false }
func (*Group) LimitReached() bool            { return false }
func (*Group) OOMFile() string               { return "" }
func (*Group) Usage() (Usage, bool)          { return Usage{}, false }
func (*Group) Close() error                  { return nil }
func (*Group) Start(cmd *exec.Cmd) error     { return cmd.Start() }
func (*Group) Seal()                         {}
func (*Group) PIDs() []int                   { return nil }
func (*Group) Kill(time.Duration) error      { return nil }
