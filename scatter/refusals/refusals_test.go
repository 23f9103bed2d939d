package refusals

import (
	"errors"
	"slices"
	"testing"
)

func answered(r *Book) bool {
	select {
	case <-r.Done():
		return true
	default:
		return false
	}
}

// allQuestions are those about so many VMs to so many hosts.
func allQuestions(hosts, vms int) (all []Question) {
	for host := range hosts {
		for vm := range vms {
			all = append(all, Question{host, vm})
		}
	}
	return all
}

func TestRefusalsWaitForAllAnswers(t *testing.T) {
	var r Book
	r.Answer(Question{0, 0}, nil) // nobody has asked yet
	r.Ask(allQuestions(2, 2), false)
	full := errors.New("h1: is full")
	r.Answer(Question{0, 0}, nil)
	r.Answer(Question{0, 0}, full) // only the first word counts
	r.Answer(Question{0, 1}, nil)
	r.Answer(Question{1, 0}, full)
	if answered(&r) {
		t.Fatal("done with three of four answers")
	}
	r.Answer(Question{1, 1}, errors.New("h1: no such machine"))
	if !answered(&r) {
		t.Fatal("not done with all answers")
	}
	r.Answer(Question{1, 1}, nil) // too late
	if r.Of(Question{0, 0}) != nil || r.Of(Question{1, 0}) != full || r.Of(Question{1, 1}) == nil || r.Of(Question{7, 7}) != nil {
		t.Errorf("answers %v", r.why)
	}
}

// TestRefusalsOfTwoRounds: what was judged can still be tried, unless it was refused; nothing is tried twice.
func TestRefusalsOfTwoRounds(t *testing.T) {
	var r Book
	takes, judged, tried := Question{0, 0}, Question{0, 1}, Question{1, 0}
	r.Ask([]Question{takes, judged}, false)
	r.Answer(takes, nil)
	r.Answer(judged, errors.New("h0: no such machine"))
	r.Answer(tried, errors.New("h1: was not asked"))
	r.Ask([]Question{tried}, true)
	r.Answer(judged, nil) // not asked any more
	r.Answer(tried, nil)
	if !answered(&r) || !r.Open(takes) || r.Open(judged) || r.Open(tried) || r.Of(tried) != nil {
		t.Errorf("open %v, %v, %v, refusals %v", r.Open(takes), r.Open(judged), r.Open(tried), r.why)
	}
	if r.Ask(nil, true); !answered(&r) {
		t.Error("waits for answers that nobody was asked for")
	}
}

func TestRefusalsEverywhere(t *testing.T) {
	var r Book
	r.Ask(allQuestions(2, 2), true)
	r.Answer(Question{0, 0}, errors.New("a"))
	r.Answer(Question{1, 0}, errors.New("b"))
	r.Answer(Question{0, 1}, errors.New("a"))
	r.Answer(Question{1, 1}, nil)
	if why := r.Everywhere(0, 2); !slices.Equal(why, []string{"a", "b"}) {
		t.Errorf("refused everywhere because of %q", why)
	}
	if why := r.Everywhere(1, 2); why != nil {
		t.Errorf("host 1 takes it, but %q", why)
	}
}

// TestRefusalsOfALostHost: it refuses what it has not answered, and nobody waits for it.
func TestRefusalsOfALostHost(t *testing.T) {
	var r Book
	r.Ask(allQuestions(1, 3), true)
	r.Answer(Question{0, 1}, nil)
	away := errors.New("away")
	r.HostLost(0, away)
	if !answered(&r) || r.Of(Question{0, 0}) != away || r.Of(Question{0, 1}) != nil || r.Of(Question{0, 2}) != away {
		t.Errorf("answers %v", r.why)
	}
}
