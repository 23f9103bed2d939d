// Package promise holds measurements against what is promised of them.
package promise

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Table is promises and what became of them.
type Table struct {
	Title string
	Facts []string // what was measured, and how
	rows  [][]string
	broke bool
}

// Add adds a figure, what it should be, and whether it is.
func (t *Table) Add(kept bool, what, measured, promised string) {
	t.broke = t.broke || !kept
	t.rows = append(t.rows, []string{what, measured, promised, map[bool]string{true: "yes", false: "NO"}[kept]})
}

// AtMost adds a figure that must not be more than a limit. format is for both.
func (t *Table) AtMost(what, format string, value, limit float64) {
	t.Add(value <= limit, what, fmt.Sprintf(format, value), "<= "+fmt.Sprintf(format, limit))
}

// AtLeast adds a figure that must not be less than a limit. format is for both.
func (t *Table) AtLeast(what, format string, value, limit float64) {
	t.Add(value >= limit, what, fmt.Sprintf(format, value), ">= "+fmt.Sprintf(format, limit))
}

// Kept tells whether all promises are kept.
func (t *Table) Kept() bool { return !t.broke }

// Markdown returns the table as text.
func (t *Table) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", t.Title)
	for _, f := range t.Facts {
		fmt.Fprintf(&b, "- %s\n", f)
	}
	b.WriteString("\n")
	b.WriteString(Grid(append([][]string{{"what", "measured", "promised", "kept"}}, t.rows...)))
	return b.String()
}

// Grid returns a table in Markdown whose columns are aligned; the first line is the head.
func Grid(lines [][]string) string {
	width := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, c := range line {
			width[i] = max(width[i], len([]rune(c)))
		}
	}
	var b strings.Builder
	row := func(line []string) {
		for i, c := range line {
			fmt.Fprintf(&b, "| %-*s ", width[i], c)
		}
		b.WriteString("|\n")
	}
	row(lines[0])
	for _, w := range width {
		fmt.Fprintf(&b, "|%s", strings.Repeat("-", w+2))
	}
	b.WriteString("|\n")
	for _, line := range lines[1:] {
		row(line)
	}
	return b.String()
}

// Write puts text into a file, whose directory is made if need be.
func Write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// Median returns the middle one of the values that f takes from the runs, of which there must be one at least.
func Median[R any, V cmp.Ordered](runs []R, f func(R) V) V {
	values := make([]V, len(runs))
	for i, r := range runs {
		values[i] = f(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// Guests names what a measurement with guests depends on: cores, QEMU, Go.
func Guests() string {
	return fmt.Sprintf("%d cores (%s) that run source, targets and guests (on an emulated processor); %s; %s", runtime.NumCPU(), processor(), qemuVersion(), runtime.Version())
}

// processor is what this machine's says that it is.
func processor() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	_, rest, _ := strings.Cut(string(b), "model name")
	line, _, _ := strings.Cut(rest, "\n")
	_, name, _ := strings.Cut(line, ":")
	return strings.TrimSpace(name)
}

func qemuVersion() string {
	out, err := exec.Command("qemu-system-x86_64", "--version").Output()
	if err != nil {
		return "QEMU of unknown version"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	version, _, _ := strings.Cut(strings.TrimPrefix(line, "QEMU emulator version "), " ")
	return "QEMU " + version
}
