//go:build lab

package faults

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/scatter"
)

// withoutDigest are flags of a move whose VM runs before its memory is there: there is nothing to be compared, but by the guest itself.
var withoutDigest = append([]string{"--verify=false"}, strictly...)

// TestFaultPostCopy: a VM takes over before its memory is there, in each of the ways to want that; it has all of it in the end, and says itself that
// none is wrong.
func TestFaultPostCopy(t *testing.T) {
	for name, flags := range map[string][]string{"hybrid": {"--mode", "hybrid"}, "post": {"--mode", "post"}, "stall": {"--on-stall", "post"}} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.receiveAll()
			busy := s.extraGuest("post-"+name, busyWorkload)
			flags = append(flags, "--place", busy.Name+"="+s.target(busy).Name)
			o := s.sendGuests([]*lab.Guest{busy}, append(withoutDigest, flags...)...).finish()
			o.exits(s, 0)
			v := o.vm(s, busy)
			if v.State != evacuated || v.PostCopy == nil || v.PostCopy.Bytes == 0 || v.PostCopy.Faults == 0 {
				t.Errorf("report: %+v, %+v", v, v.PostCopy)
			}
			for _, st := range v.Stages {
				if strings.Contains("filling evacuated", st.Stage) {
					t.Logf("%s at %.2f s", st.Stage, st.AtS)
				}
			}
			t.Logf("%+v %+v", v, v.PostCopy)
			s.stand(busy, s.target(busy))
		})
	}
}

// TestFaultPostCopyCut: the link of a VM's target is cut while the VM lacks pages, for less and for more than it takes to be taken for lost. It waits for
// its pages, and gets them.
func TestFaultPostCopyCut(t *testing.T) {
	for name, d := range map[string]time.Duration{"short": 3 * time.Second, "long": 20 * time.Second} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.receiveAll()
			g := s.extraGuest("cut-"+name, busyWorkload)
			x := s.sendGuests([]*lab.Guest{g}, "--verify=false", "--mode", "post", "--rate", "60mbit", "--place", g.Name+"="+s.target(g).Name)
			x.reaches("filling", func(ev scatter.Event) bool { return ev.Type == "vm" && ev.Stage == "filling" })
			s.must(s.target(g).Cut(t.Context()))
			x.goOn("the end of the cut", after(d))
			s.must(s.target(g).Restore(t.Context()))
			o := x.finish()
			o.exits(s, 0)
			if v := o.vm(s, g); v.State != evacuated || v.PostCopy == nil || v.PostCopy.ExposedS < d.Seconds() {
				t.Errorf("report: %+v", v)
			}
			s.stand(g, s.target(g))
		})
	}
}

// after is what has not come before so much time is over.
func after(d time.Duration) func() error {
	end := time.Now().Add(d)
	return func() error {
		if time.Now().Before(end) {
			return errors.New("it is too soon")
		}
		return nil
	}
}
