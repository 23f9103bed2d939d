package source

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/wire"
)

func answered(r *refusals) bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// allQuestions are those about so many VMs to so many hosts.
func allQuestions(hosts, vms int) (all []question) {
	for host := range hosts {
		for vm := range vms {
			all = append(all, question{host, vm})
		}
	}
	return all
}

func TestRefusalsWaitForAllAnswers(t *testing.T) {
	var r refusals
	r.answer(question{0, 0}, nil) // nobody has asked yet
	r.ask(allQuestions(2, 2), false)
	full := errors.New("h1: is full")
	r.answer(question{0, 0}, nil)
	r.answer(question{0, 0}, full) // only the first word counts
	r.answer(question{0, 1}, nil)
	r.answer(question{1, 0}, full)
	if answered(&r) {
		t.Fatal("done with three of four answers")
	}
	r.answer(question{1, 1}, errors.New("h1: no such machine"))
	if !answered(&r) {
		t.Fatal("not done with all answers")
	}
	r.answer(question{1, 1}, nil) // too late
	if r.of(question{0, 0}) != nil || r.of(question{1, 0}) != full || r.of(question{1, 1}) == nil || r.of(question{7, 7}) != nil {
		t.Errorf("answers %v", r.why)
	}
}

// TestRefusalsOfTwoRounds: what was judged can still be tried, unless it was refused; nothing is tried twice.
func TestRefusalsOfTwoRounds(t *testing.T) {
	var r refusals
	takes, judged, tried := question{0, 0}, question{0, 1}, question{1, 0}
	r.ask([]question{takes, judged}, false)
	r.answer(takes, nil)
	r.answer(judged, errors.New("h0: no such machine"))
	r.answer(tried, errors.New("h1: was not asked"))
	r.ask([]question{tried}, true)
	r.answer(judged, nil) // not asked any more
	r.answer(tried, nil)
	if !answered(&r) || !r.open(takes) || r.open(judged) || r.open(tried) || r.of(tried) != nil {
		t.Errorf("open %v, %v, %v, refusals %v", r.open(takes), r.open(judged), r.open(tried), r.why)
	}
	if r.ask(nil, true); !answered(&r) {
		t.Error("waits for answers that nobody was asked for")
	}
}

func TestRefusalsEverywhere(t *testing.T) {
	var r refusals
	r.ask(allQuestions(2, 2), true)
	r.answer(question{0, 0}, errors.New("a"))
	r.answer(question{1, 0}, errors.New("b"))
	r.answer(question{0, 1}, errors.New("a"))
	r.answer(question{1, 1}, nil)
	if why := r.everywhere(0, 2); !slices.Equal(why, []string{"a", "b"}) {
		t.Errorf("refused everywhere because of %q", why)
	}
	if why := r.everywhere(1, 2); why != nil {
		t.Errorf("host 1 takes it, but %q", why)
	}
}

// TestRefusalsOfALostHost: it refuses what it has not answered, and nobody waits for it.
func TestRefusalsOfALostHost(t *testing.T) {
	var r refusals
	r.ask(allQuestions(1, 3), true)
	r.answer(question{0, 1}, nil)
	away := errors.New("away")
	r.HostLost(0, away)
	if !answered(&r) || r.of(question{0, 0}) != away || r.of(question{0, 1}) != nil || r.of(question{0, 2}) != away {
		t.Errorf("answers %v", r.why)
	}
}

// TestExaminedCountsOnce: made-up answers do not stand in for real ones.
func TestExaminedCountsOnce(t *testing.T) {
	e := standing(t)
	e.Refused.ask(allQuestions(2, 3), true)
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
	if !answered(&e.Refused) || e.Refused.of(question{1, 2}).Error() != "h1: no disk" {
		t.Errorf("answers %v", e.Refused.why)
	}
}

// What each target lacks has its remedy, once.
func TestRemediesOfAllTargets(t *testing.T) {
	var e inquiry
	e.Links = make([]*wire.Link, 3)
	e.VMs = []*VM{vmCalled("vm1")}
	e.Refused.ask(allQuestions(3, 1), true)
	for host, why := range []string{"beta: No such file or directory", "gamma: No such file or directory", "delta: its processor lacks flags that the VM's has: aes"} {
		e.Refused.answer(question{host, 0}, errors.New(why))
	}
	got := e.refusedEverywhere()[0]
	if len(got) != 1 || strings.Count(got[0].Remedy, "--rewrite") != 1 || !strings.Contains(got[0].Remedy, "-cpu") {
		t.Errorf("%+v", got)
	}
}
