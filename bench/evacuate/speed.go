package main

import (
	"context"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/scatter-vm/scatter/bench/promise"
)

// speed is what a Go benchmark says.
type speed struct {
	name  string
	value float64
	unit  string
	want  float64 // at least
}

// benchmarks are those that stand for a promise: which, the unit of its figure as Go prints it, the factor that brings it to
// ours, and what we promise.
var benchmarks = []struct {
	name, pkg, bench, metric string
	factor                   float64
	unit                     string
	want                     float64
}{
	{"scan, one core", "dedup", "BenchmarkScanOneCore", "MB/s", 1e-3, "GB/s", 4},
	{"stream parser, one core", "qemu/stream", "BenchmarkParserPages", "MB/s", 1e-3, "GB/s", 2},
	{"index build", "dedup", "BenchmarkIndex", "Mpages/s", 1, "M pages/s", 20},
}

func measureSpeeds(ctx context.Context) (all []speed, err error) {
	for _, b := range benchmarks {
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-count", "5", "-bench", "^"+b.bench+"$", "github.com/scatter-vm/scatter/"+b.pkg)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("benchmark %s: %w: %s", b.bench, err, out)
		}
		value, err := metric(string(out), b.metric)
		if err != nil {
			return nil, fmt.Errorf("benchmark %s: %w", b.bench, err)
		}
		all = append(all, speed{b.name, value * b.factor, b.unit, b.want})
	}
	return all, nil
}

// metric finds the figures with a unit in the output of `go test -bench`, and returns the least of the benchmarks' medians.
func metric(out, unit string) (least float64, err error) {
	figures := make(map[string][]float64) // by benchmark
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		at := slices.Index(fields, unit)
		if at < 1 {
			continue
		}
		v, err := strconv.ParseFloat(fields[at-1], 64)
		if err != nil {
			return 0, err
		}
		figures[fields[0]] = append(figures[fields[0]], v)
	}
	if len(figures) == 0 {
		return 0, fmt.Errorf("no figure in %s: %s", unit, out)
	}
	least = math.Inf(1)
	for _, list := range figures {
		least = min(least, promise.Median(list, func(v float64) float64 { return v }))
	}
	return least, nil
}
