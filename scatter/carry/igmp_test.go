//go:build lab

package carry

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/internal/enginekit"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/ledger"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/system"
)

// TestLabOrderSparesReports executes the plan of 60 random target sets of 8 hosts with real sockets, once in the planned order and once in
// that in which the sets' first pages lie in memory, and counts the IGMP reports with which hosts join and leave. In the naive order hosts
// follow on one address too, so that those which need two sets in a row stay joined: all that the plan has over it is the order.
func TestLabOrderSparesReports(t *testing.T) {
	const hosts, sets, most = 8, 60, 0.46
	l := reportingLab(t, hosts)
	host := make([]int, hosts)
	for i := range host {
		host[i] = i
	}
	classes := randomClasses(hosts, sets)
	lim := planning.GroupLimits{Base: enginekit.GroupBase, Max: 64, Memberships: 16}
	planned := enginekit.MustPlan(t, hosts, host, classes, lim)
	arrival := enginekit.MustPlan(t, hosts, host, classes, lim)
	inArrivalOrder(arrival, classes)

	before := l.reports(t)
	naive := l.execute(t, arrival)
	between := l.reports(t)
	got := l.execute(t, planned)
	after := l.reports(t)

	sparing, naively := after-between, between-before
	t.Logf("%d groups on %d addresses: %d joins and leaves, %d reports; in the order of arrival %d and %d: %.0f %% fewer reports",
		planned.GroupCount(), lanes(planned), got.Joins+got.Leaves, sparing, naive.Joins+naive.Leaves, naively, 100-100*float64(sparing)/float64(naively))
	if int(got.Joins) != planned.Cost.Joins || int(got.Leaves) != planned.Cost.Leaves {
		t.Errorf("hosts joined %d times and left %d times, the plan says %d", got.Joins, got.Leaves, planned.Cost.Joins)
	}
	if float64(sparing) > most*float64(naively) {
		t.Errorf("%d reports, in the order of arrival %d", sparing, naively)
	}
	if low, high := planned.Cost.Joins+planned.Cost.Leaves, int(naive.Joins+naive.Leaves); sparing > low+low/10 || naively < high-high/10 {
		t.Errorf("%d reports for %d changes, %d for %d: something else was counted", sparing, low, naively, high)
	}
}

// randomClasses are classes of distinct random sets of VMs, of which each is on a host of its own.
func randomClasses(hosts, n int) (classes []planning.ClassInfo) {
	rng := rand.New(rand.NewPCG(1, 1))
	seen := make(map[int]bool)
	for len(classes) < n {
		set := 1 + rng.IntN(1<<hosts-1)
		var vms []int
		for h := range hosts {
			if set>>h&1 != 0 {
				vms = append(vms, h)
			}
		}
		if len(vms) > 1 && !seen[set] {
			seen[set] = true
			classes = append(classes, enginekit.VmsOf(64<<10, vms...))
		}
	}
	return classes
}

// inArrivalOrder makes one channel for each class, in the order of the classes, on one address.
func inArrivalOrder(p *planning.Schedule, classes []planning.ClassInfo) {
	group := p.Channels[0].Group
	p.Channels, p.Steps = nil, nil
	for i, c := range classes {
		p.Channels = append(p.Channels, planning.Channel{ID: uint32(i + 1), Hosts: c.VMs, Group: group, Opens: i, After: i + 1})
		p.Steps = append(p.Steps, planning.BulkStep{Class: i, Channel: i})
	}
	p.Channels[len(p.Channels)-1].After = -1
}

// lanes is how many addresses the groups take.
func lanes(p *planning.Schedule) (n int) {
	for _, c := range p.Channels {
		n = max(n, c.Lane+1)
	}
	return n
}

// igmpLab is a lab whose hosts count the reports that they send.
type igmpLab struct{ *lab.Lab }

// reportingLab makes each change of a membership one report. Hosts that hear a querier would repeat it, for the sake of lossy networks; these
// hear none.
func reportingLab(t *testing.T, hosts int) igmpLab {
	t.Helper()
	l, err := lab.New(t.Context(), lab.Config{Targets: hosts})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, h := range l.Targets {
		// Reports of a change have records of type 3 to 6; those that answer a query have 1 and 2.
		for _, command := range [][]string{
			{"nft", "add table netdev deaf; add chain netdev deaf in { type filter hook ingress device " + h.Interface + " priority 0; }; add rule netdev deaf in ip protocol igmp drop"},
			{"sysctl", "-qw", "net.ipv4.igmp_qrv=1"},
			{"ip", "link", "set", h.Interface, "down"}, // forgets what the querier has said so far
			{"ip", "link", "set", h.Interface, "up"},
			{"nft", "add table ip count; add chain ip count out { type filter hook output priority 0; }; add rule ip count out ip protocol igmp @th,64,8 3-6 counter"},
		} {
			if _, err := h.Run(t.Context(), command[0], command[1:]...); err != nil {
				t.Fatal(err)
			}
		}
	}
	return igmpLab{l}
}

// reports is how many reports of changes the hosts have sent.
func (l igmpLab) reports(t *testing.T) (n int) {
	t.Helper()
	for _, h := range l.Targets {
		out, err := h.Run(t.Context(), "nft", "-j", "list", "chain", "ip", "count", "out")
		if err != nil {
			t.Fatal(err)
		}
		var list struct {
			Nftables []struct {
				Rule struct {
					Expr []struct{ Counter *struct{ Packets int } }
				}
			}
		}
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			t.Fatal(err)
		}
		counters := 0
		for _, o := range list.Nftables {
			for _, e := range o.Rule.Expr {
				if e.Counter != nil {
					counters++
					n += e.Counter.Packets
				}
			}
		}
		if counters != 1 {
			t.Fatalf("%d counters: %s", counters, out)
		}
	}
	return n
}

// inHost runs open in a host's network.
func inHost(h *lan.Host) func(func() error) error {
	return func(open func() error) error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		home, err := netns.Get()
		if err != nil {
			return err
		}
		defer home.Close()
		there, err := netns.GetFromName(h.Namespace)
		if err != nil {
			return err
		}
		defer there.Close()
		if err := netns.Set(there); err != nil {
			return err
		}
		defer netns.Set(home)
		return open()
	}
}

// execute opens, uses and closes the channels of a plan, with a small block for each step.
func (l igmpLab) execute(t *testing.T, p *planning.Schedule) multicast.Stats {
	t.Helper()
	ctx := t.Context()
	key, evacuation := [32]byte{1}, [8]byte{2}
	var wg sync.WaitGroup
	defer wg.Wait()
	down := make(map[string]chan []byte)
	sender, err := multicast.NewSender(multicast.SenderConfig{
		Interface: l.Source.Interface, Local: l.Source.Addr, Key: key, Evacuation: evacuation, Pacer: multicast.NewPacer(60<<20, 0), In: inHost(l.Source),
		Control:     func(target string, m []byte) error { down[target] <- m; return nil },
		Confirmed:   func(multicast.ChannelID, uint64) {},
		Unreachable: func(target string, err error) { t.Errorf("target %s: %v", target, err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range l.Targets {
		name := p.Hosts[i]
		in := make(chan []byte, 1000)
		down[name] = in
		r, err := multicast.NewReceiver(multicast.ReceiverConfig{
			Interface: h.Interface, Local: h.Addr, Source: l.Source.Addr, Key: key, Evacuation: evacuation, In: inHost(h),
			Control: func(m []byte) error { return sender.HandleControl(name, slices.Clone(m)) },
			Deliver: func(multicast.ChannelID, uint64, []byte) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for m := range in {
				if err := r.HandleControl(m); err != nil {
					t.Error(err)
				}
			}
			r.Close()
		})
		if err := sender.AddTarget(name, netip.AddrPortFrom(h.Addr, r.UnicastAddr().Port())); err != nil {
			t.Fatal(err)
		}
	}
	l.send(ctx, t, sender, p)
	st := sender.Stats()
	sender.Close()
	for _, in := range down {
		close(in)
	}
	if st.Fallbacks > 0 || st.Joins == 0 {
		t.Errorf("%d fell back to unicast, %d joins", st.Fallbacks, st.Joins)
	}
	return st
}

// mergeTime is more than the kernel waits for further changes before it reports one.
const mergeTime = 25 * time.Millisecond

// send goes through the steps as bulk does. Each lasts until the joins and leaves that are due with it are over, as it does when its
// contents are more than a block.
func (l igmpLab) send(ctx context.Context, t *testing.T, sender *multicast.Sender, p *planning.Schedule) {
	t.Helper()
	ch := newChannels(sender, p, ledger.NewTracker(nil, nil, nil, nil))
	for i, s := range p.Steps {
		ch.ahead(ctx, p.Steps[i:])
		if err := ch.await(ctx, s.Channel); err != nil {
			t.Fatal(err)
		}
		if _, err := sender.Send(ctx, multicast.ChannelID(p.Channels[s.Channel].ID), []byte(fmt.Sprint("block of step ", i))); err != nil {
			t.Fatal(err)
		}
		ch.closeUnused(ctx, p.Steps[i+1:])
		ch.wait()
		_ = system.Pause(ctx, mergeTime)
	}
	kit.Eventually(t, func() bool { st := sender.Stats(); return st.Joins == st.Leaves })
}
