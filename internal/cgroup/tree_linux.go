package cgroup

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	"golang.org/x/sys/unix"
)

// Tree is where the groups of one server are made.
type Tree struct {
	// immutable
	name string   // of the folder that holds the groups, in every hierarchy
	v2   string   // folder of the unified hierarchy in which that folder is; "" where there is none for us
	on   []string // controllers that v2 has for groups
	v1   []legacy // controllers of v1, for what v2 does not have
	why  error    // why v2 has no controllers, or not all
}

// legacy is one v1 controller.
type legacy struct {
	name cgroup1.Name
	root string // the folder in which its hierarchy is mounted, by its name
	own  string // this process's cgroup in it
}

func (l legacy) path(parts ...string) string {
	return filepath.Join(append([]string{l.root, string(l.name), l.own}, parts...)...)
}

var errNothing = errors.New("none is mounted and writable for the server")

// wanted are the controllers that limits need.
var wanted = []string{"memory", "pids", "cpu"}

// system is where this process finds its cgroups; tests have their own.
type system struct {
	self      string                        // /proc/self
	systemd   string                        // exists where systemd manages the cgroups
	delegated func(dir string) bool         // by systemd, to us
	ours      func(pid int) bool            // a process that may be moved
	write     func(file, text string) error // to a file of a cgroup
}

// Open finds the place for groups: below this process's own cgroups, in a folder called name. ErrNone says that
// there is none: nothing is mounted, nothing writable, or systemd has not delegated it.
//
// Where v2 limits are to be had only below a cgroup without processes, the processes of this program that are in it,
// this one included, move into a leaf below it.
func Open(name string) (*Tree, error) {
	return open(name, system{"/proc/self", "/run/systemd/system", delegated, runsUs, write})
}

func open(name string, sys system) (*Tree, error) {
	mounts, err := readMounts(filepath.Join(sys.self, "mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	own, unified, err := cgroups.ParseCgroupFileUnified(filepath.Join(sys.self, "cgroup"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	t := &Tree{name: name}
	if dir, ok := mounts["v2"].folder(unified); ok && cloneInto() {
		t.v2, t.on, t.why = openUnified(dir, sys)
	}
	for _, c := range wanted {
		m := mounts[c]
		if dir, ok := m.folder(own[c]); ok && !slices.Contains(t.on, c) && writable(dir) {
			root := filepath.Dir(m.point)
			if rel, err := filepath.Rel(m.point, dir); err == nil && exists(filepath.Join(root, c, rel)) {
				t.v1 = append(t.v1, legacy{cgroup1.Name(c), root, filepath.Join("/", rel)})
			}
		}
	}
	if t.v2 == "" && len(t.v1) == 0 {
		return nil, fmt.Errorf("%w: %w", ErrNone, cmp.Or(t.why, errNothing))
	}
	return t, nil
}

// String says which hierarchies are used, for the log.
func (t *Tree) String() string {
	var s []string
	if t.v2 != "" {
		s = append(s, strings.TrimSpace("v2 "+strings.Join(t.on, ",")))
		if t.why != nil && len(t.v1) < len(wanted) {
			s[0] += " (" + t.why.Error() + ")"
		}
	}
	if len(t.v1) > 0 {
		names := make([]string, len(t.v1))
		for i, l := range t.v1 {
			names[i] = string(l.name)
		}
		s = append(s, "v1 "+strings.Join(names, ","))
	}
	return strings.Join(s, " and ")
}

// folders are the places of our groups, one in each hierarchy.
func (t *Tree) folders() []string {
	var all []string
	if t.v2 != "" {
		all = append(all, filepath.Join(t.v2, t.name))
	}
	for _, l := range t.v1 {
		if dir := l.path(t.name); !slices.Contains(all, dir) {
			all = append(all, dir)
		}
	}
	return all
}

// IDs lists the groups that there are, this process's and those that earlier ones left.
func (t *Tree) IDs() []string {
	seen := map[string]bool{}
	var ids []string
	for _, dir := range t.folders() {
		entries, _ := os.ReadDir(dir) // none there yet
		for _, e := range entries {
			if e.IsDir() && !seen[e.Name()] {
				seen[e.Name()] = true
				ids = append(ids, e.Name())
			}
		}
	}
	return ids
}

// Close removes the folders of the groups if there are none left.
func (t *Tree) Close() {
	for _, dir := range t.folders() {
		_ = os.Remove(dir) // refused while somebody's group is in it
	}
}

// mount is where one hierarchy is mounted; root is the cgroup that is seen there.
type mount struct{ point, root string }

// folder is the folder of the cgroup path; false when it is not to be seen.
func (m mount) folder(path string) (string, bool) {
	if m.point == "" || path == "" {
		return "", false
	}
	rel, err := filepath.Rel(m.root, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", false
	}
	dir := filepath.Join(m.point, rel)
	return dir, exists(dir)
}

// readMounts finds the hierarchies by their v1 controllers' names, and "v2".
func readMounts(file string) (map[string]mount, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMounts(f)
}

// parseMounts reads a mountinfo. https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
func parseMounts(r io.Reader) (map[string]mount, error) {
	all := map[string]mount{}
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		before, after, ok := strings.Cut(sc.Text(), " - ")
		head, tail := strings.Fields(before), strings.Fields(after)
		if !ok || len(head) < 5 || len(tail) < 3 {
			continue
		}
		m := mount{point: unescape(head[4]), root: unescape(head[3])}
		switch tail[0] {
		case "cgroup2":
			all["v2"] = m
		case "cgroup":
			for opt := range strings.SplitSeq(tail[2], ",") {
				all[opt] = m
			}
		}
	}
	return all, sc.Err()
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	for at := 0; at+4 <= len(s); at++ {
		if n, err := strconv.ParseUint(s[at+1:at+4], 8, 8); s[at] == '\\' && err == nil {
			s = s[:at] + string(rune(n)) + s[at+4:]
		}
	}
	return s
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func writable(path string) bool { return unix.Access(path, unix.W_OK) == nil }
