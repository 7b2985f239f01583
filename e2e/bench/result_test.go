package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.0123: "0.0123", 0.5: "0.500", 1.234: "1.23", 44.4: "44.4", 304: "304", 7300: "7,300", 1234567.8: "1,234,568",
	} {
		require.Equal(t, want, number(v))
	}
}

func TestMedian(t *testing.T) {
	require.Equal(t, 2.0, series{3, 1, 2}.median())
	require.Equal(t, 2.5, series{4, 1, 2, 3}.median())
}

func TestVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		figure figure
		values map[contestant]series
		ratio  float64
		want   string
	}{
		"as many times the peer's rate": {
			figure{bar: timesPeer(9)}, map[contestant]series{nbserv: {900}, peer: {100}}, 9, "pass"},
		"too few times the peer's rate": {
			figure{bar: timesPeer(9)}, map[contestant]series{nbserv: {899}, peer: {100}}, 8.99, "MISS"},
		"less is better": {
			figure{less: true, bar: timesPeer(2)}, map[contestant]series{nbserv: {10}, peer: {20}}, 2, "pass"},
		"at most":            {figure{less: true, bar: atMost(100)}, map[contestant]series{nbserv: {99, 100, 500}}, 0, "pass"},
		"more than at most":  {figure{less: true, bar: atMost(100)}, map[contestant]series{nbserv: {101}}, 0, "MISS"},
		"at least":           {figure{bar: atLeast(5000)}, map[contestant]series{nbserv: {4999}}, 0, "MISS"},
		"half of the peer's": {figure{less: true, bar: shareOfPeer(0.5)}, map[contestant]series{nbserv: {5}, peer: {10}}, 2, "pass"},
		"over half of it":    {figure{less: true, bar: shareOfPeer(0.5)}, map[contestant]series{nbserv: {6}, peer: {12.1, 11.9, 11.8}}, 11.9 / 6, "MISS"},
		"little over direct": {figure{less: true, bar: overDirect(0.3)}, map[contestant]series{nbserv: {0.5}, direct: {0.2}}, 0, "pass"},
		"much over direct":   {figure{less: true, bar: overDirect(0.3)}, map[contestant]series{nbserv: {0.51}, direct: {0.2}}, 0, "MISS"},
		"nothing to compare": {figure{bar: timesPeer(9)}, map[contestant]series{nbserv: {900}}, 0, "not measured"},
		"nothing, twice":     {figure{less: true, bar: atMost(0)}, map[contestant]series{nbserv: {0}, peer: {0}}, 0, "pass"},
		"no bar":             {figure{}, map[contestant]series{nbserv: {1}, peer: {1}}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(c.figure, c.values)
			require.Equal(t, c.want, l.verdict())
			require.InDelta(t, c.ratio, l.Ratio, 1e-9)
		})
	}
}

func TestCellShowsHalfOfTheRange(t *testing.T) {
	l := line{Values: map[contestant]series{nbserv: {90, 100, 110}, peer: {7}}}
	require.Equal(t, "100 ±10%", l.cell(nbserv))
	require.Equal(t, "7.00", l.cell(peer))
	require.Equal(t, "–", l.cell(direct))
}

// Every figure belongs to a group that can be chosen, once.
func TestFigures(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range figures {
		require.Contains(t, groupNames(), f.group)
		require.False(t, seen[f.id], f.id)
		seen[f.id] = true
	}
}

func TestRenderReplacesTheTableOnly(t *testing.T) {
	dir := t.TempDir()
	doc, run := filepath.Join(dir, "performance.md"), filepath.Join(dir, "last.json")
	r := result{When: time.Unix(0, 0), Lines: []line{newLine(
		figure{title: "relay", unit: "1/s", bar: timesPeer(9)}, map[contestant]series{nbserv: {80_000}, peer: {10_000}})}}
	require.NoError(t, r.save(run))

	require.NoError(t, os.WriteFile(doc, []byte("above\n"), 0o600))
	require.Error(t, renderInto(doc, run))

	require.NoError(t, os.WriteFile(doc, []byte("above\n"+tableBegins+"old\n"+tableEnds+"below\n"), 0o600))
	require.NoError(t, renderInto(doc, run))
	text, err := os.ReadFile(doc)
	require.NoError(t, err)
	require.Regexp(t, `(?s)^above\n`+tableBegins+`.*\| relay \| 1/s \| 80,000 \| 10,000 .*\*\*miss\*\* \|\n`+tableEnds+`below\n$`, string(text))
	require.NotContains(t, string(text), "old")
}
