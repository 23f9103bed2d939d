package main

import (
	"slices"

	"github.com/scatter-vm/scatter/bench/promise"
)

// Bounds that scatter promises to keep with whole Debians.
const (
	realBytesBesideStock = 0.26
	realTimeBesideStock  = 0.34
	realPause            = 150 // ms
	realMemory           = 170 << 20
)

// realTable holds the measurements with whole Debians against the promises.
func (m *measurement) realTable() *promise.Table {
	t := &promise.Table{Title: "Evacuating Debians with Redis", Facts: m.facts()}
	pairs := m.pairs()
	t.AtMost("bytes leaving the source, beside stock QEMU", "%.3f", promise.Median(pairs, func(p pair) float64 { return p.bytes }), realBytesBesideStock)
	t.AtMost("total time, beside stock QEMU", "%.3f", promise.Median(pairs, func(p pair) float64 { return p.time }), realTimeBesideStock)
	var pause, send int64
	for _, e := range slices.Concat(m.zstd, m.plain) {
		pause, send = max(pause, e.pause.Milliseconds()), max(send, e.send)
	}
	for _, e := range m.verified { // which compare all memory while a guest stands still
		send = max(send, e.send)
	}
	t.AtMost("worst pause of a guest in any run without --verify", "%.0f ms", float64(pause), realPause)
	t.AtMost("peak memory of send in any run", "%.0f MiB", float64(send)/(1<<20), realMemory/(1<<20))
	m.inARow(t)
	return t
}
