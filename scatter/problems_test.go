package scatter

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
)

func TestProblemsTellAllAtOnce(t *testing.T) {
	var p problems
	p.add(nil)
	if err := p.err(); err != nil {
		t.Errorf("no problem is %v", err)
	}
	p.add(errors.New("no such socket"))
	p.add(Blocker{VM: "web", Problem: "has a disk"})
	p.add(fmt.Errorf("preflight: %w", Blocker{Host: "h", Problem: "is full", Remedy: "make room"}))
	p.add(&BlockedError{[]Blocker{{VM: "a", Problem: "one"}, {VM: "b", Problem: "two"}}})
	blocked, ok := errors.AsType[*BlockedError](p.err())
	want := []Blocker{{Problem: "no such socket"}, {VM: "web", Problem: "has a disk"}, {Host: "h", Problem: "is full", Remedy: "make room"},
		{VM: "a", Problem: "one"}, {VM: "b", Problem: "two"}}
	if !ok || !cmp.Equal(blocked.Blockers, want) {
		t.Errorf("got %+v", p.err())
	}
	if got := blocked.Error(); got != "nothing moved: 5 blockers, first: no such socket" {
		t.Errorf("got %q", got)
	}
}

func TestProblemsFromManyGoroutines(t *testing.T) {
	var p problems
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { p.add(errors.New("x")) })
	}
	wg.Wait()
	if len(p.list) != 50 {
		t.Errorf("%d problems", len(p.list))
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
	one := &BlockedError{[]Blocker{{VM: "web", Problem: "has a disk"}}}
	if got := one.Error(); got != "nothing moved: vm web: has a disk" {
		t.Errorf("got %q", got)
	}
}

func vmCalled(name string) *sourceVM { return &sourceVM{vm: &qemu.VM{Name: name}, host: -1} }

func linkTo(name string) *link { return &link{welcome: control.Welcome{Name: name}} }

func TestProblemsOfNames(t *testing.T) {
	var p problems
	p.namesOf("VMs", "name them", []string{"a", "b", "a", "c", "a"})
	want := Blocker{Problem: "two VMs are called a", Remedy: "name them"}
	if !cmp.Equal(p.list, []Blocker{want, want}) {
		t.Errorf("got %+v", p.list)
	}
}

func TestProblemsOfPlaces(t *testing.T) {
	var p problems
	vms, links := []string{"a", "b"}, []*link{linkTo("x"), linkTo("y")}
	p.places(map[string]string{"a": "x", "b": "nowhere", "nobody": "y"}, vms, links)
	var got []string
	for _, b := range p.list {
		got = append(got, b.String())
	}
	want := []string{"vm b on host nowhere: is placed on a host that is not among the targets", "vm nobody: is placed, but is not among the VMs to move"}
	if !cmp.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	good := func() SendConfig {
		return SendConfig{VMs: []string{"/run/a.qmp"}, Targets: []TargetAddr{{Name: "h"}}}
	}
	c := good()
	if err := c.setDefaults(); err != nil || c.RunDir != DefaultRunDir || c.Parallel != 2 || c.OnStall != StallKeep || c.MaxGroups != 64 ||
		c.GroupBase.String() != "239.77.0.0" || c.Downtime.String() != "300ms" || c.Log == nil {
		t.Errorf("defaults %+v, %v", c, err)
	}
	for want, spoil := range map[string]func(*SendConfig){
		"no VM":       func(c *SendConfig) { c.VMs = nil },
		"no target":   func(c *SendConfig) { c.Targets = nil },
		"rate -1":     func(c *SendConfig) { c.Rate = -1 },
		"downtime":    func(c *SendConfig) { c.Downtime = -1 },
		"parallel -2": func(c *SendConfig) { c.Parallel = -2 },
		"max-groups":  func(c *SendConfig) { c.MaxGroups = -1 },
		"on-stall":    func(c *SendConfig) { c.OnStall = "hope" },
		"group base":  func(c *SendConfig) { c.GroupBase = netip.MustParseAddr("10.0.0.1") },
	} {
		c := good()
		spoil(&c)
		if err := c.setDefaults(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}
