//go:build lab

package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// hints is a network without guests, in which `scatter check` says what is wrong with it.
type hints struct {
	*lab.Lab
	*deploy.Deployment
	t *testing.T
}

// finding is one of check's.
type finding struct{ Host, Check, Level, Message, Remedy string }

// findings are those about a host.
type findings []finding

// check checks the way to targets, and returns what it says of each.
func (h *hints) check(targets []*lan.Host, args ...string) map[string]findings {
	h.t.Helper()
	args = append([]string{"check", "--json", "--interface", h.Source.Interface, "--tls-dir", deploy.TLSDir(h.Source), "--group-base", groupBase}, args...)
	for _, target := range targets {
		args = append(args, "--to", target.Name+"="+h.Address(target))
	}
	out, err := h.Source.Command(h.t.Context(), program, args...).Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		h.t.Fatal(err)
	}
	found := make(map[string]findings)
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var f finding
		if err := d.Decode(&f); err != nil {
			h.t.Fatalf("%v: %s", err, out)
		}
		found[f.Host] = append(found[f.Host], f)
	}
	return found
}

// hint is what check has to say about a host: a finding of a level, with texts in its message or its remedy.
type hint struct {
	check, level string
	texts        []string
}

// want compares what is not ok with hints: those, and no others.
func (h *hints) want(name string, host *lan.Host, found map[string]findings, hints ...hint) {
	h.t.Helper()
	wrong := 0
	for _, f := range found[host.Name] {
		if f.Level != "ok" {
			wrong++
		}
	}
	for _, w := range hints {
		if w.level != "ok" {
			wrong--
		}
		if !found[host.Name].have(w) {
			h.t.Errorf("%s: no %s %s with %q: %+v", name, w.check, w.level, w.texts, found[host.Name])
		}
	}
	if wrong != 0 {
		h.t.Errorf("%s: more or less is wrong than expected: %+v", name, found[host.Name])
	}
}

func (all findings) have(w hint) bool {
	for _, f := range all {
		have := f.Check == w.check && f.Level == w.level
		for _, text := range w.texts {
			have = have && strings.Contains(f.Message+"\n"+f.Remedy, text)
		}
		if have {
			return true
		}
	}
	return false
}

func (h *hints) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// firewall drops what matches where packets enter a host's interface, or at a later hook.
func (h *hints) firewall(host *lan.Host, hook, match string) {
	h.t.Helper()
	family, at := "ip", "hook "+hook
	if hook == "ingress" {
		family, at = "netdev", "hook ingress device "+host.Interface
	}
	_, err := host.Run(h.t.Context(), "nft", "table "+family+" hints {\n chain c {\n type filter "+at+" priority 0\n "+match+" drop\n }\n }")
	h.must(err)
}

func (h *hints) noFirewall(host *lan.Host) {
	h.t.Helper()
	_, err := host.Run(h.t.Context(), "nft", "delete table ip hints")
	h.must(err)
}

// What an operator has to know of IGMP, `scatter check` knows: each fault of network and firewalls has its own hint, which names the
// setting to change.
func TestCheckSaysWhichSettingIsWrong(t *testing.T) {
	const n = 8
	l, err := lab.New(t.Context(), lab.Config{Targets: n})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &hints{Lab: l, t: t}
	h.Deployment, err = deploy.New(t.Context(), l, program)
	h.must(err)
	last := l.Targets[n-1]
	_, err = h.ReceiveAll(t.Context(), l.Targets[:n-1])
	h.must(err)
	_, err = h.ReceiveWith(t.Context(), last, "setpriv", "--bounding-set=-net_raw", program, "recv", "--name", last.Name, "--listen", h.Address(last),
		"--interface", last.Interface, "--tls-dir", deploy.TLSDir(last), "--run-dir", deploy.RunDir(last), "--log-level", "info")
	h.must(err)
	h.settles(l.Targets[0])
	h.ofTargets()
	h.ofTheSource()
	h.ofMTU()
	h.ofTheSwitch()
}

// udpIn matches datagrams.
const udpIn = "meta l4proto udp "

// ofTargets: each target has a fault of its own.
func (h *hints) ofTargets() {
	ctx, t := h.t.Context(), h.Targets
	fine, deaf, silent, fenced, closed, shut, half, blind := t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7]
	h.must(deaf.BlackholeMulticast(ctx, true))
	h.must(silent.LoseReports(ctx, -1))
	h.firewall(fenced, "input", "ip daddr 239.0.0.0/8")
	h.firewall(closed, "input", udpIn+"ip daddr != 224.0.0.0/4")
	h.firewall(shut, "ingress", udpIn)
	specific := netip.MustParseAddr(groupBase).As4()
	specific[3] += 2*6 + 1 // two groups for each target, the second is joined for the source only
	h.firewall(half, "ingress", "ip daddr "+netip.AddrFrom4(specific).String())

	found := h.check(t)
	h.want("all well", fine, found, hint{"flooding", "ok", []string{"kept from it"}}, hint{"multicast", "ok", []string{"reach"}},
		hint{"MTU", "ok", []string{"1500"}}, hint{"sockets", "ok", []string{"16384 KiB", "GRO", "MTU 1500"}}, hint{"datagrams", "ok", nil})
	h.firewall(fine, "input", udpIn+"meta length gt 1500") // what comes as one packet was not cut up on the way
	h.want("bursts mangled", fine, h.check(t[:1]), hint{"bursts", "warning", []string{"cuts out of bursts", "--no-gso", "tx-udp-segmentation"}}, hint{"MTU", "ok", []string{"1500"}})
	h.noFirewall(fine)
	h.want("group kept back", deaf, found, hint{"multicast", "warning", []string{"not get as far as the target's interface", "snooping", "querier"}})
	h.want("reports lost", silent, found, hint{"multicast", "warning", []string{"not get as far as the target's interface", "snooping", "reports"}})
	h.want("group dropped by the target", fenced, found, hint{"multicast", "warning", []string{"behind it", "the target's firewall"}})
	h.want("unicast dropped by the target", closed, found, hint{"datagrams", "error", []string{"groups reach it", "the target's firewall"}})
	h.want("nothing passes", shut, found, hint{"datagrams", "error", []string{"no datagram reaches it"}})
	h.want("recv without CAP_NET_RAW", blind, found, hint{"flooding", "warning", []string{"cannot be seen", "not permitted", "CAP_NET_RAW"}}, hint{"multicast", "ok", nil})
	h.want("no source-specific joins", half, found, hint{"source-specific multicast", "warning", []string{"IGMPv3"}})
}

// ofTheSource: its own firewall keeps groups in.
func (h *hints) ofTheSource() {
	h.firewall(h.Source, "output", "ip daddr 239.0.0.0/8")
	found := h.check(h.Targets[:1])
	h.want("group dropped by the source", h.Targets[0], found, hint{"multicast", "warning", []string{"not permitted", "out in this host's firewall"}})
	h.noFirewall(h.Source)
}

// ofMTU: jumbo frames do not get everywhere.
func (h *hints) ofMTU() {
	ctx := h.t.Context()
	jumbo, host, port := h.Targets[0], h.Targets[3], h.Targets[4]
	h.noFirewall(host)
	h.noFirewall(port)
	h.must(h.Source.SetMTU(ctx, 9000, 9000))
	h.must(jumbo.SetMTU(ctx, 9000, 9000))
	h.must(port.SetMTU(ctx, 9000, 1500))
	found := h.check([]*lan.Host{jumbo, host, port})
	h.want("jumbo frames", jumbo, found, hint{"MTU", "ok", []string{"9000"}})
	h.want("target without jumbo frames", host, found, hint{"MTU", "error", []string{"packets of 1500 bytes reach it, those of 9000 get lost", "same MTU", "mtu 1500"}})
	h.want("switch without jumbo frames", port, found, hint{"MTU", "error", []string{"packets of 1500 bytes reach it, those of 9000 get lost", "switch", "mtu 1500"}})
	h.must(h.Source.SetMTU(ctx, 1500, 1500))
	h.must(jumbo.SetMTU(ctx, 1500, 1500))
}

// ofTheSwitch: it forgets, or floods.
func (h *hints) ofTheSwitch() {
	ctx, target := h.t.Context(), h.Targets[0]
	check := func(args ...string) map[string]findings { return h.check(h.Targets[:1], args...) }
	h.must(h.Switch.LoseQuerier(ctx, 2*time.Second))
	h.want("no querier", target, check("--hold", "4s"), hint{"querier", "warning", []string{"no more after 4s", "no querier has asked", "switch on an IGMP querier"}})
	h.must(h.Switch.FindQuerier(ctx))
	h.must(h.Switch.AskEvery(ctx, time.Second))
	h.settles(target)
	h.want("querier", target, check("--hold", "2s"), hint{"querier", "ok", []string{"asks who listens"}})
	h.must(h.Switch.SpeakIPv6(ctx))
	six := []string{"--group-base", "ff15::77:0"}
	h.settles(target, six...)
	h.want("IPv6", target, check(append(six, "--hold", "2s")...), hint{"multicast", "ok", []string{"reach"}}, hint{"flooding", "ok", []string{"kept from it"}},
		hint{"MTU", "ok", []string{"1500"}}, hint{"querier", "ok", []string{"asks who listens"}})
	h.must(h.Switch.Flood(ctx, true))
	h.want("no snooping of IPv6", target, check(six...), hint{"flooding", "warning", []string{"floods", "MLD snooping on", "querier"}})
	h.want("no snooping", target, check(), hint{"flooding", "warning", []string{"floods", "IGMP snooping on", "querier"}})
	h.must(h.Switch.Flood(ctx, false))
	h.must(h.Switch.StopQuerier(ctx))
	h.want("snooping without any querier", target, check(), hint{"flooding", "warning", []string{"floods", "IGMP snooping on", "querier"}})
}

// settles waits until the switch knows who listens.
func (h *hints) settles(target *lan.Host, args ...string) {
	h.t.Helper()
	h.must(await(h.t.Context(), "the end of flooding", func() error {
		if found := h.check([]*lan.Host{target}, args...); !found[target.Name].have(hint{"flooding", "ok", nil}) {
			return fmt.Errorf("found %+v", found)
		}
		return nil
	}))
}
