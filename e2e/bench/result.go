package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// lastRun is the file of the last run of all groups.
const lastRun = "last.json"

// series are the values of one figure, one for each round.
type series []float64

func (s series) median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// result is a run as it is kept.
type result struct {
	When    time.Time `json:"when"`
	Took    string    `json:"took"`
	Machine machine   `json:"machine"`
	Lines   []line    `json:"lines"`
}

// line is a figure with its values.
type line struct {
	ID     string                `json:"id"`
	Title  string                `json:"title"`
	Unit   string                `json:"unit"`
	Values map[contestant]series `json:"values"`
	Ratio  float64               `json:"ratio,omitempty"` // how many times as good as the peer
	Bar    string                `json:"bar,omitempty"`
	Met    *bool                 `json:"met,omitempty"` // nil: there is no bar, or a value is missing
}

func newLine(f figure, values map[contestant]series) line {
	l := line{ID: f.id, Title: f.title, Unit: f.unit, Values: values, Bar: f.bar.text}
	l.Ratio, _ = f.ratio(l.median)
	if f.bar.met != nil {
		if met, known := f.bar.met(f, l.median); known {
			l.Met = &met
		}
	}
	return l
}

func (l line) median(c contestant) (float64, bool) {
	s, ok := l.Values[c]
	if !ok || len(s) == 0 {
		return 0, false
	}
	return s.median(), true
}

// cell is the median with half of the range of its rounds.
func (l line) cell(c contestant) string {
	m, ok := l.median(c)
	if !ok {
		return "–"
	}
	text := number(m)
	s := l.Values[c]
	if half := (slices.Max(s) - slices.Min(s)) / 2; len(s) > 1 && m != 0 {
		text += fmt.Sprintf(" ±%.0f%%", 100*half/m)
	}
	return text
}

// verdict is what the last column says.
func (l line) verdict() string {
	switch {
	case l.Bar == "":
		return ""
	case l.Met == nil:
		return "not measured"
	case *l.Met:
		return "pass"
	}
	return "MISS"
}

// row is the line's cells, for both forms of the table.
func (l line) row() []string {
	row := []string{l.Title, l.Unit}
	for _, c := range columns {
		row = append(row, l.cell(c))
	}
	ratio := "–"
	if l.Ratio > 0 {
		ratio = number(l.Ratio) + "×"
	}
	return append(row, ratio, l.Bar, l.verdict())
}

func header() []string {
	h := []string{"", "unit"}
	for _, c := range columns {
		h = append(h, string(c))
	}
	return append(h, "ratio", "bar", "")
}

// plain is the table for a terminal.
func (r result) plain() string {
	var b strings.Builder
	fmt.Fprintln(&b, r.about())
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(header(), "\t"))
	for _, l := range r.Lines {
		fmt.Fprintln(w, strings.Join(l.row(), "\t"))
	}
	w.Flush()
	return b.String()
}

// markdown is the table for the documentation.
func (r result) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.about())
	fmt.Fprintf(&b, "| %s |\n|---|---|%s\n", strings.Join(header(), " | "), strings.Repeat("--:|", len(columns)+1)+"---|---|")
	for _, l := range r.Lines {
		row := l.row()
		if row[len(row)-1] == "MISS" {
			row[len(row)-1] = "**miss**"
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	return b.String()
}

func (r result) about() string {
	return fmt.Sprintf("%s, %s. Run of %s in %s.", r.Machine.Hardware, r.Machine.Software, r.When.Format(time.DateOnly), r.Took) +
		fmt.Sprintf(" Others kept the machine %.0f %% busy before it and %.0f %% after; it waited %s for quiet moments.",
			r.Machine.BusyBefore, r.Machine.BusyAfter, r.Machine.Waited)
}

func (r result) save(path string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}

// The lines of a Markdown file between which the table stands.
const (
	tableBegins = "<!-- bench: begin -->\n"
	tableEnds   = "<!-- bench: end -->\n"
)

// renderInto replaces the table in a Markdown file by that of a kept run.
func renderInto(doc, run string) error {
	raw, err := os.ReadFile(run)
	if err != nil {
		return err
	}
	var r result
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("%s: %w", run, err)
	}
	text, err := os.ReadFile(doc)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(text, []byte(tableBegins))
	_, after, also := bytes.Cut(rest, []byte(tableEnds))
	if !ok || !also {
		return errors.New(doc + " has no place for the table")
	}
	return os.WriteFile(doc, slices.Concat(before, []byte(tableBegins), []byte(r.markdown()), []byte(tableEnds), after), 0o644)
}

// number shows three significant digits, or all before the point, in groups of three.
func number(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	text := strconv.FormatFloat(v, 'f', digits, 64)
	whole, fraction, _ := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction == "" {
		return whole
	}
	return whole + "." + fraction
}
