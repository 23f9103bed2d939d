package source

import (
	"errors"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/refusals"
	"github.com/scatter-vm/scatter/scatter/wire"
)

func answered(r *refusals.Book) bool {
	select {
	case <-r.Done():
		return true
	default:
		return false
	}
}

// allQuestions are those about so many VMs to so many hosts.
func allQuestions(hosts, vms int) (all []refusals.Question) {
	for host := range hosts {
		for vm := range vms {
			all = append(all, refusals.Question{Host: host, VM: vm})
		}
	}
	return all
}

// TestExaminedCountsOnce: made-up answers do not stand in for real ones.
func TestExaminedCountsOnce(t *testing.T) {
	e := standing(t)
	e.Refused.Ask(allQuestions(2, 3), true)
	for vm := 3; vm < 100; vm++ {
		asking{&e.inquiry}.FromTarget(0, control.Examined{VM: vm})
	}
	for host := range 2 {
		for vm := range 3 {
			if answered(&e.Refused) {
				t.Fatal("done before all have answered")
			}
			asking{&e.inquiry}.FromTarget(host, control.Examined{VM: vm, Error: "no disk"})
		}
	}
	if !answered(&e.Refused) || e.Refused.Of(refusals.Question{Host: 1, VM: 2}).Error() != "h1: no disk" {
		t.Errorf("answers %v", e.Refused.Of(refusals.Question{Host: 1, VM: 2}))
	}
}

// What each target lacks has its remedy, once.
func TestRemediesOfAllTargets(t *testing.T) {
	var e inquiry
	e.Links = make([]*wire.Link, 3)
	e.VMs = []*VM{vmCalled("vm1")}
	e.Refused.Ask(allQuestions(3, 1), true)
	for host, why := range []string{"beta: No such file or directory", "gamma: No such file or directory", "delta: its processor lacks flags that the VM's has: aes"} {
		e.Refused.Answer(refusals.Question{Host: host, VM: 0}, errors.New(why))
	}
	got := e.refusedEverywhere()[0]
	if len(got) != 1 || strings.Count(got[0].Remedy, "--rewrite") != 1 || !strings.Contains(got[0].Remedy, "-cpu") {
		t.Errorf("%+v", got)
	}
}
