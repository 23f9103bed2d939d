package main

import (
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/promise"
)

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
func (m *measurement) table() *promise.Table {
	t := &promise.Table{Title: "Evacuating one host to many", Facts: m.facts()}
	m.besideStock(t)
	m.besideBound(t)
	m.compression(t)
	m.spreading(t)
	m.inARow(t)
	m.memory(t)
	for _, s := range m.speeds {
		t.AtLeast(s.name, "%.1f "+s.unit, s.value, s.want)
	}
	return t
}

func (m *measurement) facts() []string {
	c := promise.Median(m.contents, func(c lab.Contents) int64 { return c.NonZero })
	d := promise.Median(m.contents, func(c lab.Contents) int64 { return c.Distinct })
	list := []string{
		m.scene(),
		fmt.Sprintf("the guests hold %.0f MB that are not zero, of which D = %.0f MB are distinct (independent count of the stopped guests)",
			float64(c)/1e6, float64(d)/1e6),
		fmt.Sprintf("medians of %d runs; bytes are those on the source's port with all headers, pauses those of the guests' heartbeats", m.runs),
		promise.Guests(),
	}
	for _, k := range []struct {
		name string
		runs []evacuation
	}{
		{"stock QEMU", m.stock}, {"scatter", m.zstd}, {"scatter, not compressed", m.plain},
		{"scatter, 6 targets", m.spreadZ}, {"scatter, 6 targets, not compressed", m.spread}, {"scatter, with --verify", m.verified},
	} {
		if len(k.runs) == 0 {
			continue
		}
		list = append(list, fmt.Sprintf("%s: %.1f s, %.0f MB, worst pause %.0f ms", k.name, promise.Median(k.runs, secondsOf), promise.Median(k.runs, bytesOf)/1e6,
			promise.Median(k.runs, func(e evacuation) float64 { return float64(e.pause.Milliseconds()) })))
	}
	return list
}

func (m *measurement) inARow(t *promise.Table) {
	t.Add(len(m.verified) == m.verifyRuns, "consecutive evacuations with --verify, no byte differs, no guest harmed",
		fmt.Sprint(len(m.verified)), fmt.Sprint(m.verifyRuns))
}

// scene says what is evacuated.
func (m *measurement) scene() string {
	w := m.guests[0].Config.Workload
	if m.real {
		return fmt.Sprintf("%d Debians of %d MiB with systemd and Redis, %d targets, %d Mbit/s on each port in both directions; each Redis holds %d MiB of "+
			"values common to all, %d MiB of text of its own and %d MiB that do not compress; %d values are read and verified and %d written per second",
			len(m.guests), guestMiB, few, m.rate/1e6, w.Common, w.Text, w.Own+w.Hot, w.Verify, w.Dirty)
	}
	return fmt.Sprintf("%d guests of %d MiB, %d and %d targets, %d Mbit/s on each port in both directions, each guest rewrites %d pages/s",
		len(m.guests), guestMiB, few, many, m.rate/1e6, w.Dirty)
}

// pair is scatter beside stock QEMU in the same round.
type pair struct{ bytes, time, pause float64 }

func (m *measurement) pairs() (all []pair) {
	for i, e := range m.zstd {
		s := m.stock[i]
		all = append(all, pair{bytesOf(e) / bytesOf(s), secondsOf(e) / secondsOf(s), float64((e.pause - s.pause).Milliseconds())})
	}
	return all
}

// besideStock compares runs of the same round.
func (m *measurement) besideStock(t *promise.Table) {
	pairs := m.pairs()
	t.AtMost("bytes leaving the source, beside stock QEMU", "%.3f", promise.Median(pairs, func(p pair) float64 { return p.bytes }), bytesBesideStock)
	t.AtMost("total time, beside stock QEMU", "%.3f", promise.Median(pairs, func(p pair) float64 { return p.time }), timeBesideStock)
	t.AtMost("worst pause of a guest, minus stock QEMU's worst", "%.0f ms", promise.Median(pairs, func(p pair) float64 { return p.pause }),
		float64(pauseBeyondStock.Milliseconds()))
}

// besideBound compares with what must cross the link at least: D, and what the guests may have dirtied meanwhile.
func (m *measurement) besideBound(t *promise.Table) {
	type ratio struct{ bytes, dirtied, time float64 }
	var ratios []ratio
	for i, e := range m.plain {
		d := float64(m.contents[i].Distinct)
		dirtied := float64(len(m.guests)*m.guests[0].Config.Workload.Dirty*4096) * e.time.Seconds()
		ratios = append(ratios, ratio{bytesOf(e) / d, dirtied / d, secondsOf(e) / (d * 8 / float64(m.rate))})
	}
	bytes, dirtied := promise.Median(ratios, func(r ratio) float64 { return r.bytes }), promise.Median(ratios, func(r ratio) float64 { return r.dirtied })
	t.Add(bytes <= bytesBesideBound+dirtied, "not compressed: bytes leaving the source, beside D", fmt.Sprintf("%.3f", bytes),
		fmt.Sprintf("<= %.3f and %.3f for pages dirtied meanwhile", bytesBesideBound, dirtied))
	t.AtMost("not compressed: total time, beside D / link rate", "%.3f", promise.Median(ratios, func(r ratio) float64 { return r.time }), timeBesideBound)
}

func (m *measurement) compression(t *promise.Table) {
	t.Add(promise.Median(m.zstd, bytesOf) < promise.Median(m.plain, bytesOf), "bytes with compression",
		fmt.Sprintf("%.1f MB", promise.Median(m.zstd, bytesOf)/1e6), fmt.Sprintf("< %.1f MB", promise.Median(m.plain, bytesOf)/1e6))
	t.Add(promise.Median(m.zstd, secondsOf) < promise.Median(m.plain, secondsOf), "time with compression",
		fmt.Sprintf("%.2f s", promise.Median(m.zstd, secondsOf)), fmt.Sprintf("< %.2f s", promise.Median(m.plain, secondsOf)))
}

func (m *measurement) spreading(t *promise.Table) {
	for _, k := range []struct {
		name      string
		few, many []evacuation
	}{{"", m.zstd, m.spreadZ}, {"not compressed: ", m.plain, m.spread}} {
		t.AtMost(k.name+"bytes to 6 targets, beside those to 3", "%.3f", promise.Median(k.many, bytesOf)/promise.Median(k.few, bytesOf), spreadGrowth)
	}
}

func (m *measurement) memory(t *promise.Table) {
	var send, recv, pages int64
	for _, runs := range [][]evacuation{m.zstd, m.plain, m.spread, m.spreadZ} {
		for _, e := range runs {
			send, recv, pages = max(send, e.send), max(recv, e.recv), max(pages, e.report.Pages.Total)
		}
	}
	t.AtMost("peak memory of send (150 MiB and 24 bytes per page)", "%.0f MiB", float64(send)/(1<<20), float64(baseMemory+memoryPerPage*pages)/(1<<20))
	t.AtMost("peak memory of recv", "%.0f MiB", float64(recv)/(1<<20), baseMemory/(1<<20))
}
