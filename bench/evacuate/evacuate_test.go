package main

import "testing"

func TestMetricTakesTheLeastMedian(t *testing.T) {
	const out = "BenchmarkA/x-2  10  11 ns/op  31.5 Mpages/s\nBenchmarkA/y-2  10  9 ns/op  22.5 Mpages/s\n" +
		"BenchmarkA/y-2  10  9 ns/op  3.5 Mpages/s\nBenchmarkA/y-2  10  9 ns/op  40 Mpages/s\nPASS\n"
	if v, err := metric(out, "Mpages/s"); err != nil || v != 22.5 {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := metric(out, "GB/s"); err == nil {
		t.Error("a figure that is not there was found")
	}
}
