// Command traffic empties a host one of whose guests sends at 60 % of the link while another one receives at as much, in the ways that scatter and stock
// QEMU have, side by side: the situation of "Traffic-Sensitive Live Migration of Virtual Machines" (Deshpande, Keahey, CCGrid 2015).
//
//	go run ./bench/traffic [-runs 3] [-only REGEXP] [-rate 300mbit] [-series] [-out bench/results/traffic.md]
//
// It exits with 1 if a promise is broken. It needs root and bin/scatter, and takes about a quarter of an hour on two cores.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/image"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/peer"
	"github.com/scatter-vm/scatter/bench/promise"
	"github.com/scatter-vm/scatter/bench/stock"
)

func main() {
	only := flag.String("only", "", "regular expression: the ways that are measured, without a table")
	runs := flag.Int("runs", 3, "runs of each way; the table shows their medians")
	binary := flag.String("scatter", "bin/scatter", "the program")
	out := flag.String("out", filepath.Join("bench", "results", "traffic.md"), "where to write the table")
	ceiling := flag.String("rate", "", "what scatter is given as --rate, for comparison; the table is of what it finds by itself")
	series := flag.Bool("series", false, "show what the applications get in each second of the window")
	flag.Parse()
	promise.Main("traffic", func(ctx context.Context) (bool, error) {
		some, err := regexp.Compile(*only)
		if err != nil {
			return false, err
		}
		m := &measurement{rounds: make(map[string][]round), ceiling: *ceiling, series: *series}
		if err := m.run(ctx, *runs, *binary, some); err != nil || *only+*ceiling != "" {
			return true, err
		}
		t := m.table()
		fmt.Print("\n", t.Markdown())
		return t.Kept(), promise.Write(*out, t.Markdown())
	})
}

// What the link carries in bit/s, and what share of that an application wants.
const (
	rate  = 300e6
	share = 0.6
	wants = rate / 8 * share // bytes per second
)

// peerNumber is the last number of the address of the host behind the source and two targets.
const peerNumber = 13

// guests are one that sends and one that receives.
func guests() []lab.GuestConfig {
	calm := lab.Workload{Own: 192, Hot: 8, Dirty: 500, Verify: 1000, Peer: peerNumber}
	sender, receiver := calm, calm
	sender.ID, sender.Address, sender.Send = 1, 231, wants
	receiver.ID, receiver.Address, receiver.Receive = 2, 232, true
	return []lab.GuestConfig{
		{Name: "sender", System: image.Networked, Memory: 512, Workload: sender},
		{Name: "receiver", System: image.Networked, Memory: 512, Workload: receiver},
	}
}

// targetMemory has room for one guest.
const targetMemory = "700MiB"

// measurement is what was measured, and on what.
type measurement struct {
	lab        *lab.Lab
	guests     []*lab.Guest
	peer       *peer.Peer
	deployment *deploy.Deployment
	receivers  []*deploy.Receiver // of the evacuation under way
	rounds     map[string][]round // by the name of their way
	ceiling    string             // of what scatter sends; "" = it finds it
	series     bool
}

// run measures the ways, in turn.
func (m *measurement) run(ctx context.Context, runs int, binary string, some *regexp.Regexp) (err error) {
	restore, err := lab.ShareEqually()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()
	if m.lab, err = lab.New(ctx, lab.Config{Targets: 2, Rate: rate, Bridged: true}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.lab.Close()) }()
	if err := m.openPeer(ctx); err != nil {
		return err
	}
	defer m.peer.Close()
	if m.deployment, err = deploy.New(ctx, m.lab, binary); err != nil {
		return err
	}
	if m.guests, err = m.lab.Boot(ctx, guests()...); err != nil {
		return err
	}
	chosen := slices.DeleteFunc(slices.Clone(ways), func(w way) bool { return !some.MatchString(w.name) })
	for i := range runs {
		for _, w := range chosen {
			r, err := m.measure(ctx, w)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			fmt.Printf("%-15s %d/%d %s\n", w.name, i+1, runs, r)
			m.rounds[w.name] = append(m.rounds[w.name], r)
		}
	}
	return nil
}

// openPeer gives the guests a peer, on a host of its own whose link is no bottleneck.
func (m *measurement) openPeer(ctx context.Context) error {
	h, err := m.lab.Switch.AddHost(ctx, "peer")
	if err != nil {
		return err
	}
	if n := h.Addr.As4(); n[3] != peerNumber {
		return fmt.Errorf("peer: its address is %v, guests know it as number %d", h.Addr, peerNumber)
	}
	if err := h.SetRate(ctx, 0); err != nil {
		return err
	}
	m.peer, err = peer.Open(h, wants)
	return err
}

// way is one to empty the source.
type way struct {
	name string
	move func(ctx context.Context, m *measurement) (round, error)
}

var ways = []way{
	{"stock pre-copy", stockWay(stock.Default)},
	{"stock post-copy", stockWay(stock.PostCopy)},
	{"scatter pre", scatterWay("--mode", "pre")},
	{"scatter post", scatterWay("--mode", "post")},
	{"scatter auto", func(ctx context.Context, m *measurement) (round, error) {
		links, err := m.links()
		if err != nil {
			return round{}, err
		}
		return scatterWay("--mode", "auto", "--constraints", links)(ctx, m)
	}},
}

// links writes down what the links of the hosts carry, as an operator would whose network cards do not tell: these claim 10 Gbit/s.
func (m *measurement) links() (file string, err error) {
	type host struct {
		LinkBPS int64 `json:"link_bps"`
	}
	hosts := make(map[string]host)
	for _, h := range append([]*lan.Host{m.lab.Source}, m.lab.Targets...) {
		hosts[h.Name] = host{rate}
	}
	text, err := json.Marshal(map[string]any{"hosts": hosts})
	if err != nil {
		return "", err
	}
	file = filepath.Join(m.lab.Source.Dir, "links.json")
	return file, os.WriteFile(file, text, 0o600)
}

func stockWay(how stock.Setting) func(context.Context, *measurement) (round, error) {
	return func(ctx context.Context, m *measurement) (r round, err error) {
		result, err := stock.Evacuate(ctx, m.lab, m.guests, stock.RoundRobin(m.lab), how)
		if err != nil {
			return r, err
		}
		return round{time: result.Time, bytes: result.SourceBytes}, nil
	}
}

// scatterWay gives no rate, unless that is asked for: scatter finds out what the guests' traffic leaves.
func scatterWay(args ...string) func(context.Context, *measurement) (round, error) {
	return func(ctx context.Context, m *measurement) (r round, err error) {
		job := deploy.Job{Args: args}
		if m.ceiling != "" {
			job.Args = append([]string{"--rate", m.ceiling}, args...)
		}
		result, err := m.deployment.Send(ctx, job)
		if err == nil && result.Exit != 0 {
			err = fmt.Errorf("send ended with %d: %s", result.Exit, result.Output)
		}
		if err != nil {
			return r, err
		}
		return round{time: result.Time, bytes: result.SourceBytes}, nil
	}
}
