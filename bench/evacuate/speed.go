package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
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
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^"+b.bench+"$", "github.com/scatter-vm/scatter/"+b.pkg)
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

// metric finds the worst figure with a unit in the output of `go test -bench`.
func metric(out, unit string) (worst float64, err error) {
	fields := strings.Fields(out)
	for i := 1; i < len(fields); i++ {
		if fields[i] != unit {
			continue
		}
		v, err := strconv.ParseFloat(fields[i-1], 64)
		if err != nil {
			return 0, err
		}
		if worst == 0 || v < worst {
			worst = v
		}
	}
	if worst == 0 {
		return 0, fmt.Errorf("no figure in %s: %s", unit, out)
	}
	return worst, nil
}
