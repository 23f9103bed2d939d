package main

import (
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/promise"
	"github.com/scatter-vm/scatter/bench/stock"
)

// writer is a guest that rewrites 64 MiB, 20,000 pages a second, and holds 192 MiB of others. A busy one computes in between without a pause: only then
// taking processor time from it costs work.
func writer(name string, busy bool) lab.GuestConfig {
	return lab.GuestConfig{Name: name, Memory: 512, Workload: lab.Workload{ID: 1, Own: 192, Hot: 64, Stamp: true, Busy: busy, Dirty: 20000, Verify: 1000}}
}

// alone is a guest that dirties memory faster than the link carries, and the ways for such a one.
func alone() []part {
	about := "a guest of 512 MiB holds 192 MiB that stay as they are, and rewrites 64 MiB: a word in each of 20,000 pages a second; one target, 300 Mbit/s"
	return []part{
		{about: about + ". It computes in between without a pause:", rate: slow, targets: 1, guests: []lab.GuestConfig{writer("busy", true)}, judge: judgeThrottle, ways: []way{
			{"stock auto-converge", stockWay(stock.AutoConverge)},
			{"throttle", scatterWay(lan.WithGroups, "--on-stall", "throttle")},
			{"throttle by QEMU", scatterWay(nil, "--on-stall", "throttle")},
			{"stop", scatterWay(nil, "--on-stall", "pause")},
		}},
		{about: about + ":", rate: slow, targets: 1, guests: []lab.GuestConfig{writer("writer", false)}, judge: judgePost, ways: []way{
			{"stock post-copy", stockWay(stock.PostCopy)},
			{"post", scatterWay(nil, "--mode", "post")},
			{"stock post-copy after one pass", stockWay(stock.PostCopyAfterPass)},
			{"hybrid", scatterWay(nil, "--mode", "hybrid")},
		}},
	}
}

// What is promised of throttling beside stock QEMU's, and beside a guest that is stopped so that it can go.
const (
	throttleTime  = 0.40
	throttleBytes = 0.42
	throttleGap   = 300 // ms
	throttleLost  = 2.5 // s
	throttleDown  = 0.12
)

func judgeThrottle(t *promise.Table, of map[string]round) {
	stock, ours := of["stock auto-converge"], of["throttle"]
	t.AtMost("throttle: time, beside stock auto-converge", "%.2f", ours.time.Seconds()/stock.time.Seconds(), throttleTime)
	t.AtMost("throttle: bytes, beside stock auto-converge", "%.2f", float64(ours.bytes)/float64(stock.bytes), throttleBytes)
	t.AtMost("throttle: gap", "%.0f ms", float64(ours.gap.Milliseconds()), throttleGap)
	t.AtMost("throttle: work lost", "%.1f s", ours.lost.Seconds(), throttleLost)
	t.AtMost("throttle: gap, beside that of a guest that is stopped", "%.2f", ours.gap.Seconds()/of["stop"].gap.Seconds(), throttleDown)
}

// What is promised of VMs that take over before their memory is there, beside stock QEMU's.
const (
	postTime    = 1.1
	postGap     = 500 // ms
	postLost    = 1.2 // s
	hybridBytes = 1.1
	hybridGap   = 300 // ms
	hybridLost  = 0.8 // s
)

func judgePost(t *promise.Table, of map[string]round) {
	stock, ours := of["stock post-copy"], of["post"]
	t.AtMost("post: time, beside stock post-copy", "%.2f", ours.time.Seconds()/stock.time.Seconds(), postTime)
	t.AtMost("post: gap", "%.0f ms", float64(ours.gap.Milliseconds()), postGap)
	t.AtMost("post: work lost", "%.1f s", ours.lost.Seconds(), postLost)
	stock, ours = of["stock post-copy after one pass"], of["hybrid"]
	t.AtMost("hybrid: bytes, beside stock post-copy after one pass", "%.2f", float64(ours.bytes)/float64(stock.bytes), hybridBytes)
	t.AtMost("hybrid: gap", "%.0f ms", float64(ours.gap.Milliseconds()), hybridGap)
	t.AtMost("hybrid: work lost", "%.1f s", ours.lost.Seconds(), hybridLost)
}
