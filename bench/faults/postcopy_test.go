//go:build lab

package faults

import (
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/bench/lab"
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
