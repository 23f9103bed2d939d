package main

import (
	"strings"
	"testing"
)

func TestMetricTakesTheWorst(t *testing.T) {
	const out = "BenchmarkA/x-2  10  11 ns/op  31.5 Mpages/s\nBenchmarkA/y-2  10  9 ns/op  22.5 Mpages/s\nPASS\n"
	if v, err := metric(out, "Mpages/s"); err != nil || v != 22.5 {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := metric(out, "GB/s"); err == nil {
		t.Error("a figure that is not there was found")
	}
}

func TestMedian(t *testing.T) {
	if m := median([]int{5, 1, 9}, func(i int) int { return i }); m != 5 {
		t.Errorf("median %d", m)
	}
}

func TestTable(t *testing.T) {
	tab := &table{title: "T", facts: []string{"fact"}}
	tab.atMost("low", "%.2f", 1, 1)
	if !tab.kept() {
		t.Error("a promise that is kept counts as broken")
	}
	tab.atLeast("high", "%.1f GB/s", 3.9, 4)
	if tab.kept() {
		t.Error("a broken promise counts as kept")
	}
	if s := tab.markdown(); !strings.Contains(s, "| high | 3.9 GB/s | >= 4.0 GB/s | NO   |") {
		t.Error(s)
	}
}
