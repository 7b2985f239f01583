package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// quoted is a word in backticks, as packages and tests stand in the README's tables of promises.
var quoted = regexp.MustCompile("`([^`]+)`")

var numbered = regexp.MustCompile(`^[PS]\d+$`)

// Every promise has its line in the README, and every test that a line names is there: in the package named
// before it, and about that promise if its name says about which.
func TestReadmePromises(t *testing.T) {
	raw, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(raw), "<!-- promises -->\n")
	require.True(t, ok)
	table, _, ok := strings.Cut(rest, "<!-- /promises -->")
	require.True(t, ok)

	source := map[string]string{} // of a package's tests, by folder
	seen := map[string]bool{}
	for line := range strings.Lines(table) {
		promise, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " ")
		if !numbered.MatchString(promise) {
			continue
		}
		require.False(t, seen[promise], "%s has two lines", promise)
		seen[promise] = true
		var pkg string
		tests := 0
		for _, m := range quoted.FindAllStringSubmatch(line, -1) {
			switch name := m[1]; {
			case strings.HasPrefix(name, "Test"), strings.HasPrefix(name, "Fuzz"):
				tests++
				require.True(t, strings.Contains(source[pkg], "\nfunc "+name+"("), "%s: package %q has no %s", promise, pkg, name)
				_, numbers, tagged := strings.Cut(name, "_")
				require.True(t, !tagged || strings.Contains("_"+numbers+"_", "_"+promise+"_"), "%s is not about %s", name, promise)
			case isPackage(name):
				pkg = name
				if source[pkg] == "" {
					source[pkg] = testsOf(t, pkg)
				}
			}
		}
		require.True(t, tests > 0 || strings.Contains(line, "| not yet"), "%s names no test", promise)
	}
	for kind, last := range map[string]int{"P": 16, "S": 13} {
		for n := 1; n <= last; n++ {
			require.True(t, seen[fmt.Sprint(kind, n)], "%s%d has no line", kind, n)
		}
	}
}

func isPackage(name string) bool {
	info, err := os.Stat(filepath.Join("../..", name))
	return err == nil && info.IsDir() && !strings.Contains(name, ".")
}

// testsOf is the text of all test files of a package.
func testsOf(t *testing.T, pkg string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../..", pkg, "*_test.go"))
	require.NoError(t, err)
	var b strings.Builder
	for _, f := range files {
		raw, err := os.ReadFile(f)
		require.NoError(t, err)
		b.Write(raw)
	}
	return b.String()
}
