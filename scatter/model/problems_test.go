package model

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProblemsTellAllAtOnce(t *testing.T) {
	var p Problems
	p.Add(nil)
	if err := p.Err(); err != nil {
		t.Errorf("no problem is %v", err)
	}
	p.Add(errors.New("no such socket"))
	p.Add(Blocker{VM: "web", Problem: "has a disk"})
	p.Add(fmt.Errorf("preflight: %w", Blocker{Host: "h", Problem: "is full", Remedy: "make room"}))
	p.Add(&BlockedError{Blockers: []Blocker{{VM: "a", Problem: "one"}, {VM: "b", Problem: "two"}}})
	blocked, ok := errors.AsType[*BlockedError](p.Err())
	want := []Blocker{{Problem: "no such socket"}, {VM: "web", Problem: "has a disk"}, {Host: "h", Problem: "is full", Remedy: "make room"},
		{VM: "a", Problem: "one"}, {VM: "b", Problem: "two"}}
	if !ok || !cmp.Equal(blocked.Blockers, want) {
		t.Errorf("got %+v", p.Err())
	}
	if got := blocked.Error(); got != "nothing moved: 5 blockers, first: no such socket" {
		t.Errorf("got %q", got)
	}
}

func TestProblemsFromManyGoroutines(t *testing.T) {
	var p Problems
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { p.Add(errors.New("x")) })
	}
	wg.Wait()
	if len(p.List) != 50 {
		t.Errorf("%d problems", len(p.List))
	}
}

func TestBlockerSpeaks(t *testing.T) {
	for want, b := range map[string]Blocker{
		"is full":                               {Problem: "is full"},
		"vm web: is full":                       {VM: "web", Problem: "is full"},
		"host h: is full (make room)":           {Host: "h", Problem: "is full", Remedy: "make room"},
		"vm web on host h: is full (make room)": {VM: "web", Host: "h", Problem: "is full", Remedy: "make room"},
	} {
		if got := b.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	one := &BlockedError{Blockers: []Blocker{{VM: "web", Problem: "has a disk"}}}
	if got := one.Error(); got != "nothing moved: vm web: has a disk" {
		t.Errorf("got %q", got)
	}
}

func TestProblemsOfNames(t *testing.T) {
	var p Problems
	p.NamesOf("VMs", "name them", []string{"a", "b", "a", "c", "a"})
	want := Blocker{Problem: "two VMs are called a", Remedy: "name them"}
	if !cmp.Equal(p.List, []Blocker{want, want}) {
		t.Errorf("got %+v", p.List)
	}
}
