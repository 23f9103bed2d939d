//go:build lab

package faults

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// membershipTime is how long the switch remembers a membership when its querier is gone: with the time until a target gets unicast, less
// than the shared pages take.
const membershipTime = time.Second

// The switch forgets in mid-flight who listens. A target that announces itself anew is heard by it, again and again; for
// one whose reports get lost the group stays silent, and its share goes on by unicast.
func TestFaultQuerierGone(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	s.must(s.Switch.LoseQuerier(t.Context(), membershipTime))
	healed, deaf := s.Targets[0], s.Targets[1]
	x := s.send("--rate", "50mbit", "--group-base", groupBase)
	x.sends(2 << 20)
	s.must(deaf.LoseReports(t.Context(), -1))
	o := x.finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	o.warns(s, deaf.Name, "unicast", "silent")
	o.spares(s, healed.Name)
	if joins := o.report.Group.Joins; joins < int64(len(s.Targets))+2 {
		t.Errorf("%d joins: nobody has announced itself anew", joins)
	}
	s.spread(s.Targets...)
}

// spares checks that the report does not warn of something.
func (o *outcome) spares(s *scene, text string) {
	s.t.Helper()
	for _, w := range o.report.Warnings {
		if strings.Contains(w, text) {
			s.t.Errorf("warning: %s", w)
		}
	}
}

// The first reports of a target get lost, more than its kernel sends by itself: announcing itself anew brings it into the group.
// All reports of the other get lost: it is served by unicast, and the operator is told.
func TestFaultReportsLost(t *testing.T) {
	const lost = 3 // the kernel sends a report twice
	s := newScene(t)
	s.receiveAll()
	healed, deaf := s.Targets[0], s.Targets[1]
	s.must(healed.LoseReports(t.Context(), lost))
	s.must(deaf.LoseReports(t.Context(), -1))
	o := s.send().finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	o.warns(s, deaf.Name, "unicast", "no probe came through")
	o.spares(s, healed.Name)
	for _, h := range s.Targets {
		if n, err := h.LostReports(t.Context()); err != nil || n < lost {
			t.Errorf("%s: %d reports were lost: %v", h.Name, n, err)
		}
	}
	if r := o.report; r.MulticastBytes == 0 || r.UnicastBytes == 0 {
		t.Errorf("%d bytes of multicast and %d of unicast", r.MulticastBytes, r.UnicastBytes)
	}
	s.spread(s.Targets...)
}

// The switch starts anew in mid-flight: all links are down for a while, and it has forgotten every group. Once it has asked who
// listens, the groups carry on.
func TestFaultSwitchReboot(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	x := s.send("--rate", "100mbit", "--group-base", groupBase)
	x.sends(2 << 20)
	s.must(s.Switch.Off(t.Context()))
	for _, h := range s.Targets {
		if ok, err := h.Hears(t.Context(), netip.MustParseAddr(groupBase)); ok || err != nil {
			t.Errorf("the switch remembers %s: %v", h.Name, err)
		}
	}
	restarted := make(chan error, 1)
	time.AfterFunc(time.Second, func() { restarted <- s.Switch.On(t.Context()) })
	x.goOn("the switch to know all members again", func() error { return s.known(s.Targets...) })
	s.must(<-restarted)
	o := x.finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	for _, h := range s.Targets {
		o.spares(s, h.Name)
	}
	s.spread(s.Targets...)
}

// known tells whether the switch knows hosts as members of the first group.
func (s *scene) known(hosts ...*lan.Host) error {
	for _, h := range hosts {
		ok, err := h.Hears(s.t.Context(), netip.MustParseAddr(groupBase))
		if err == nil && !ok {
			err = errors.New("the switch does not know " + h.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
