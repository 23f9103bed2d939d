package scatter

import (
	"errors"
	"slices"
	"testing"
)

func answered(r *refusals) bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func TestRefusalsWaitForAllAnswers(t *testing.T) {
	var r refusals
	r.answer(0, 0, nil) // nobody has asked yet
	r.open(2, 2)
	full := errors.New("h1: is full")
	r.answer(0, 0, nil)
	r.answer(0, 0, full) // only the first word counts
	r.answer(0, 1, nil)
	r.answer(1, 0, full)
	if answered(&r) {
		t.Fatal("done with three of four answers")
	}
	r.answer(1, 1, errors.New("h1: no such machine"))
	if !answered(&r) {
		t.Fatal("not done with all answers")
	}
	r.answer(1, 1, nil) // too late
	if r.of(0, 0) != nil || r.of(1, 0) != full || r.of(1, 1) == nil || r.of(7, 7) != nil {
		t.Errorf("answers %v", r.why)
	}
}

func TestRefusalsEverywhere(t *testing.T) {
	var r refusals
	r.open(2, 2)
	r.answer(0, 0, errors.New("a"))
	r.answer(1, 0, errors.New("b"))
	r.answer(0, 1, errors.New("a"))
	r.answer(1, 1, nil)
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
	r.open(1, 3)
	r.answer(0, 1, nil)
	away := errors.New("away")
	r.hostLost(0, away)
	if !answered(&r) || r.of(0, 0) != away || r.of(0, 1) != nil || r.of(0, 2) != away {
		t.Errorf("answers %v", r.why)
	}
}
