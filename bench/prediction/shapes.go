package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// mostTargets is how many targets the largest shape has.
const mostTargets = 4

// guestConfigs are the guests: three of one family that share most, one that is mostly its own, one that rewrites its memory busily, and one that does so
// faster than the link carries.
func guestConfigs() (all []lab.GuestConfig) {
	add := func(name string, w lab.Workload) {
		w.ID, w.Verify, w.Beat = len(all)+1, 200, 100*time.Millisecond
		all = append(all, lab.GuestConfig{Name: name, Memory: 288, Workload: w})
	}
	for i := range 3 {
		add(fmt.Sprint("family", i+1), lab.Workload{Common: 96, Duplicate: 24, Own: 32, Zero: 8, Hot: 2, Dirty: 50})
	}
	add("own", lab.Workload{Common: 8, Own: 140, Zero: 4, Hot: 4, Dirty: 100})
	add("busy", lab.Workload{Common: 48, Duplicate: 4, Own: 40, Zero: 4, Hot: 16, Dirty: 1500})
	add("writer", lab.Workload{Common: 48, Own: 40, Hot: 32, Stamp: true, Dirty: 12000})
	return all
}

// shape is one way to evacuate.
type shape struct {
	name    string
	guests  []int // of guestConfigs
	targets int
	rate    int // Mbit/s of every link, and what send may use
	args    []string
}

// shapes differ in what limits them: links of different speed, guests, targets, what guests share, how fast they rewrite their memory,
// compression, multicast.
var shapes = []shape{
	{"a family", []int{0, 1, 2}, 2, 200, nil},
	{"a family, not compressed", []int{0, 1, 2}, 2, 200, []string{"--no-compress"}},
	{"a family, faster", []int{0, 1, 2}, 3, 400, nil},
	{"a family, unicast", []int{0, 1, 2}, 3, 300, []string{"--unicast"}},
	{"two, one target, slow", []int{0, 1}, 1, 100, nil},
	{"little in common", []int{0, 3}, 2, 200, nil},
	{"one, busy", []int{4}, 1, 200, nil},
	{"a family, one busy", []int{0, 1, 4}, 3, 300, nil},
	{"all", []int{0, 1, 2, 3, 4}, 4, 300, nil},
	{"all, fast, not compressed", []int{0, 1, 2, 3, 4}, 2, 500, []string{"--no-compress"}},
	{"a writer", []int{5}, 1, 200, nil},
	{"a writer, post", []int{5}, 1, 200, []string{"--mode", "post"}},
	{"a family and a writer", []int{0, 1, 5}, 3, 300, nil},
	{"a family and a writer, post", []int{0, 1, 5}, 3, 300, []string{"--mode", "post"}},
	{"a family, post, not compressed", []int{0, 1, 2}, 2, 200, []string{"--mode", "post", "--no-compress"}},
}

// row is what was predicted and what was measured, from outside.
type row struct {
	shape
	predictedBytes, bytes int64
	predictedTime, time   time.Duration
	predictedPause, pause time.Duration // of the guest with the longest

	predictedExposed, exposed time.Duration // of the guest with the longest, to both hosts
	modes                     string        // of the guests
}

// measure evacuates and brings the guests home.
func (s shape) measure(ctx context.Context, d *deploy.Deployment, all []*lab.Guest) (r row, err error) {
	var guests []*lab.Guest
	for _, i := range s.guests {
		guests = append(guests, all[i])
	}
	hosts := d.Lab.Targets[:s.targets]
	for _, h := range slices.Concat(hosts, []*lan.Host{d.Lab.Source}) {
		if err := h.SetRate(ctx, int64(s.rate)*1e6); err != nil {
			return r, err
		}
	}
	share := (len(guests) + s.targets - 1) / s.targets
	receivers, err := d.ReceiveAll(ctx, hosts, "--memory", fmt.Sprintf("%dMiB", share*guests[0].Config.Memory+64))
	if err != nil {
		return r, err
	}
	result, err := d.Send(ctx, deploy.Job{Guests: guests, Targets: hosts, Args: append([]string{"--rate", fmt.Sprintf("%dmbit", s.rate)}, s.args...)})
	if err != nil {
		return r, err
	}
	if result.Exit != 0 || result.Report == nil {
		return r, fmt.Errorf("send ended with %d: %s", result.Exit, result.Output)
	}
	if _, err := d.CheckGuests(ctx, guests); err != nil {
		return r, err
	}
	p := result.Report.Plan
	r = row{shape: s, predictedBytes: p.PredictedBytes, bytes: result.SourceBytes,
		predictedTime: time.Duration(p.PredictedTime * float64(time.Second)), time: result.Time}
	for _, v := range result.Report.VMs {
		r.pause = max(r.pause, time.Duration(v.DowntimeMS*float64(time.Millisecond)))
		r.predictedPause = max(r.predictedPause, time.Duration(v.PredictedMS*float64(time.Millisecond)))
		if !strings.Contains(r.modes, v.Mode) {
			r.modes += " " + v.Mode
		}
		if p := v.PostCopy; p != nil {
			r.exposed = max(r.exposed, time.Duration(p.ExposedS*float64(time.Second)))
			r.predictedExposed = max(r.predictedExposed, time.Duration(p.PredictedS*float64(time.Second)))
		}
	}
	return r, d.Reset(ctx, receivers)
}
