package main

import (
	"cmp"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/scatter-vm/scatter/bench/lab"
)

// row is one promise and what became of it.
type row struct {
	what, measured, promised string
	kept                     bool
}

// table is the result.
type table struct {
	title string
	facts []string
	rows  []row
}

func (t *table) add(kept bool, what, measured, promised string) {
	t.rows = append(t.rows, row{what, measured, promised, kept})
}

// atMost adds a row about a figure that must not be more than a limit.
func (t *table) atMost(what, format string, value, limit float64) {
	t.add(value <= limit, what, fmt.Sprintf(format, value), "<= "+fmt.Sprintf(format, limit))
}

// atLeast adds a row about a figure that must not be less than a limit.
func (t *table) atLeast(what, format string, value, limit float64) {
	t.add(value >= limit, what, fmt.Sprintf(format, value), ">= "+fmt.Sprintf(format, limit))
}

// kept reports whether all promises are kept.
func (t *table) kept() bool {
	return !slices.ContainsFunc(t.rows, func(r row) bool { return !r.kept })
}

// markdown returns the table as text.
func (t *table) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", t.title)
	for _, f := range t.facts {
		fmt.Fprintf(&b, "- %s\n", f)
	}
	b.WriteString("\n")
	cells := [][]string{{"what", "measured", "promised", "kept"}, {"---", "---", "---", "---"}}
	for _, r := range t.rows {
		cells = append(cells, []string{r.what, r.measured, r.promised, map[bool]string{true: "yes", false: "NO"}[r.kept]})
	}
	var width [4]int
	for _, line := range cells {
		for i, c := range line {
			width[i] = max(width[i], len(c))
		}
	}
	for _, line := range cells {
		for i, c := range line {
			fmt.Fprintf(&b, "| %-*s ", width[i], c)
		}
		b.WriteString("|\n")
	}
	return b.String()
}

// median returns the middle one of the values that f takes from the runs.
func median[R any, V cmp.Ordered](runs []R, f func(R) V) V {
	values := make([]V, len(runs))
	for i, r := range runs {
		values[i] = f(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func bytesOf(e evacuation) float64   { return float64(e.bytes) }
func secondsOf(e evacuation) float64 { return e.time.Seconds() }

// Bounds that scatter promises to keep.
const (
	bytesBesideStock = 0.40
	timeBesideStock  = 0.40
	pauseBeyondStock = 100 * time.Millisecond
	bytesBesideBound = 1.08
	timeBesideBound  = 1.30
	spreadGrowth     = 1.05
	baseMemory       = 150 << 20
	memoryPerPage    = 24
)

// table holds the measurements against the promises.
func (m *measurement) table() *table {
	t := &table{title: "Evacuating one host to many", facts: m.facts()}
	m.besideStock(t)
	m.besideBound(t)
	m.compression(t)
	m.spreading(t)
	t.add(m.verified == m.verifyRuns, "consecutive evacuations with --verify, no byte differs, no guest harmed",
		fmt.Sprint(m.verified), fmt.Sprint(m.verifyRuns))
	m.memory(t)
	for _, s := range m.speeds {
		t.atLeast(s.name, "%.1f "+s.unit, s.value, s.want)
	}
	return t
}

func (m *measurement) facts() []string {
	c := median(m.contents, func(c lab.Contents) int64 { return c.NonZero })
	d := median(m.contents, func(c lab.Contents) int64 { return c.Distinct })
	list := []string{
		fmt.Sprintf("%d guests of %d MiB, %d and %d targets, %d Mbit/s on each port in both directions, each guest rewrites %d pages/s",
			len(m.guests), guestMiB, few, many, m.rate/1e6, m.guests[0].Config.Workload.Dirty),
		fmt.Sprintf("the guests hold %.0f MB that are not zero, of which D = %.0f MB are distinct (independent count of the stopped guests)",
			float64(c)/1e6, float64(d)/1e6),
		fmt.Sprintf("medians of %d runs; bytes are those on the source's port with all headers, pauses those of the guests' heartbeats", m.runs),
		fmt.Sprintf("%d cores that run source, targets and guests (on an emulated processor); %s; %s", runtime.NumCPU(), qemuVersion(), runtime.Version()),
	}
	for _, k := range []struct {
		name string
		runs []evacuation
	}{
		{"stock QEMU", m.stock}, {"scatter", m.zstd}, {"scatter, not compressed", m.plain},
		{"scatter, 6 targets", m.spreadZ}, {"scatter, 6 targets, not compressed", m.spread},
	} {
		list = append(list, fmt.Sprintf("%s: %.1f s, %.0f MB, worst pause %.0f ms", k.name, median(k.runs, secondsOf), median(k.runs, bytesOf)/1e6,
			median(k.runs, func(e evacuation) float64 { return float64(e.pause.Milliseconds()) })))
	}
	return list
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

// besideStock compares runs of the same round.
func (m *measurement) besideStock(t *table) {
	type pair struct{ bytes, time, pause float64 }
	var pairs []pair
	for i, e := range m.zstd {
		s := m.stock[i]
		pairs = append(pairs, pair{bytesOf(e) / bytesOf(s), secondsOf(e) / secondsOf(s), float64((e.pause - s.pause).Milliseconds())})
	}
	t.atMost("bytes leaving the source, beside stock QEMU", "%.3f", median(pairs, func(p pair) float64 { return p.bytes }), bytesBesideStock)
	t.atMost("total time, beside stock QEMU", "%.3f", median(pairs, func(p pair) float64 { return p.time }), timeBesideStock)
	t.atMost("worst pause of a guest, minus stock QEMU's worst", "%.0f ms", median(pairs, func(p pair) float64 { return p.pause }),
		float64(pauseBeyondStock.Milliseconds()))
}

// besideBound compares with what must cross the link at least: D, and what the guests may have dirtied meanwhile.
func (m *measurement) besideBound(t *table) {
	type ratio struct{ bytes, dirtied, time float64 }
	var ratios []ratio
	for i, e := range m.plain {
		d := float64(m.contents[i].Distinct)
		dirtied := float64(len(m.guests)*m.guests[0].Config.Workload.Dirty*4096) * e.time.Seconds()
		ratios = append(ratios, ratio{bytesOf(e) / d, dirtied / d, secondsOf(e) / (d * 8 / float64(m.rate))})
	}
	bytes, dirtied := median(ratios, func(r ratio) float64 { return r.bytes }), median(ratios, func(r ratio) float64 { return r.dirtied })
	t.add(bytes <= bytesBesideBound+dirtied, "not compressed: bytes leaving the source, beside D", fmt.Sprintf("%.3f", bytes),
		fmt.Sprintf("<= %.3f and %.3f for pages dirtied meanwhile", bytesBesideBound, dirtied))
	t.atMost("not compressed: total time, beside D / link rate", "%.3f", median(ratios, func(r ratio) float64 { return r.time }), timeBesideBound)
}

func (m *measurement) compression(t *table) {
	t.add(median(m.zstd, bytesOf) < median(m.plain, bytesOf), "bytes with compression",
		fmt.Sprintf("%.1f MB", median(m.zstd, bytesOf)/1e6), fmt.Sprintf("< %.1f MB", median(m.plain, bytesOf)/1e6))
	t.add(median(m.zstd, secondsOf) < median(m.plain, secondsOf), "time with compression",
		fmt.Sprintf("%.2f s", median(m.zstd, secondsOf)), fmt.Sprintf("< %.2f s", median(m.plain, secondsOf)))
}

func (m *measurement) spreading(t *table) {
	for _, k := range []struct {
		name      string
		few, many []evacuation
	}{{"", m.zstd, m.spreadZ}, {"not compressed: ", m.plain, m.spread}} {
		t.atMost(k.name+"bytes to 6 targets, beside those to 3", "%.3f", median(k.many, bytesOf)/median(k.few, bytesOf), spreadGrowth)
	}
}

func (m *measurement) memory(t *table) {
	var send, recv, pages int64
	for _, runs := range [][]evacuation{m.zstd, m.plain, m.spread, m.spreadZ} {
		for _, e := range runs {
			send, recv, pages = max(send, e.send), max(recv, e.recv), max(pages, e.report.Pages.Total)
		}
	}
	t.atMost("peak memory of send (150 MiB and 24 bytes per page)", "%.0f MiB", float64(send)/(1<<20), float64(baseMemory+memoryPerPage*pages)/(1<<20))
	t.atMost("peak memory of recv", "%.0f MiB", float64(recv)/(1<<20), baseMemory/(1<<20))
}
