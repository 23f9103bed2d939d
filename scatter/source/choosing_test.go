package source

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/modes"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/system"
)

// TestPolicies: what may be done with a VM, by what the operator says of all and of this one.
func TestPolicies(t *testing.T) {
	vm := func(r planning.VMRules) planning.Rules {
		return planning.Rules{VMs: map[string]planning.VMRules{"vm": r}}
	}
	const most = 0.8
	for _, c := range []struct {
		name string
		cfg  Config
		want modes.Policy
	}{
		{"default", Config{}, modes.Policy{Mode: model.ModeAuto, Throttle: most, PostCopy: true}},
		{"pre", Config{Mode: model.ModePre}, modes.Policy{Mode: model.ModePre}},
		{"pre, else post-copy", Config{Mode: model.ModePre, OnStall: model.StallPost}, modes.Policy{Mode: model.ModePre, PostCopy: true, Must: true}},
		{"throttle", Config{Mode: model.ModeThrottle}, modes.Policy{Mode: model.ModeThrottle, Throttle: most}},
		{"hybrid", Config{Mode: model.ModeHybrid}, modes.Policy{Mode: model.ModeHybrid, PostCopy: true, Must: true}},
		{"auto, but no VM is bent", Config{OnStall: model.StallKeep}, modes.Policy{Mode: model.ModeAuto}},
		{"auto, but throttled at most", Config{OnStall: model.StallThrottle}, modes.Policy{Mode: model.ModeAuto, Throttle: most}},
		{"verify", Config{Verify: true}, modes.Policy{Mode: model.ModeAuto, Throttle: most}},
		{"a VM's own mode", Config{Mode: model.ModePost, Rules: vm(planning.VMRules{Mode: model.ModePre})}, modes.Policy{Mode: model.ModePre}},
		{"never post-copy", Config{Mode: model.ModePost, Rules: vm(planning.VMRules{NeverPostCopy: true})}, modes.Policy{Mode: model.ModeAuto, Throttle: most}},
		{"never post-copy, and no VM is bent", Config{OnStall: model.StallKeep, Rules: vm(planning.VMRules{NeverPostCopy: true})}, modes.Policy{Mode: model.ModeAuto}},
		{"a deadline", Config{OnStall: model.StallKeep, Deadline: 1, AtDeadline: model.StallPost}, modes.Policy{Mode: model.ModeAuto, Hurried: true}},
	} {
		c.cfg.Throttle = most
		c.cfg.setModeDefaults()
		if got := c.cfg.policy("vm"); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		if err := c.cfg.checkModes(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for want, cfg := range map[string]Config{
		"mode \"fast\"":         {Mode: "fast"},
		"throttle 1":            {Throttle: 1},
		"vm vm: mode \"later\"": {Rules: vm(planning.VMRules{Mode: "later"})},
		"never be moved":        {Rules: vm(planning.VMRules{Mode: model.ModePost, NeverPostCopy: true})},
		"verify":                {Verify: true, Mode: model.ModePost},
		"vm vm: verify":         {Verify: true, Rules: vm(planning.VMRules{Mode: model.ModeHybrid})},
	} {
		cfg.setModeDefaults()
		if err := cfg.checkModes(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// TestHeadWithoutPostCopy: the head of a VM that could take over, and is not to any more, is that of one that never could.
func TestHeadWithoutPostCopy(t *testing.T) {
	v := found(t, "-m", "16")
	preflight := func(postCopy bool) []byte {
		t.Helper()
		v.Policy.PostCopy = postCopy
		if err := v.Preflight(t.Context(), func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		return v.Header
	}
	want := preflight(false)
	if with := preflight(true); bytes.Equal(with, want) {
		t.Fatal("the head does not tell of post-copy")
	}
	if err := v.neverTakesOver("a reason"); err != nil || !bytes.Equal(v.Header, want) || v.Policy.PostCopy {
		t.Errorf("%v, %d bytes, want %d", err, len(v.Header), len(want))
	}
	if _, err := system.WithoutAdvise(want[:len(want)-1]); err == nil {
		t.Error("a head that is cut off was taken")
	}
}

// TestSetOfHotPages: how many pages a VM goes on to write, of which the looks have seen some, as far as what it writes then tells.
func TestSetOfHotPages(t *testing.T) {
	const pages = 4096
	for _, c := range []struct {
		name         string
		first, later func(i int) int // the pages that are written, i from 0 to 499
		want         float64
	}{
		{"always the same", func(i int) int { return 5 * i }, func(i int) int { return 5 * i }, 500},
		{"half of them again", func(i int) int { return 5 * i }, func(i int) int { return 5*i + (5*250+1)*(i%2) }, 1000},
		{"in order, and not at the end", func(i int) int { return i }, func(i int) int { return i + 500 }, 0},
		{"in order, and from the begin again", func(i int) int { return i }, func(i int) int { return (i + 500) % 800 }, 800},
		{"nothing more", func(i int) int { return i }, nil, 0},
	} {
		b, mem := kit.OwnRAM(t, pages)
		write := func(page int, what uint64) { kit.Stamp(b[page*model.PageSize:][:model.PageSize], what) }
		for i := range pages {
			write(i, uint64(i+1))
		}
		e := &Scanned{Seed: 7}
		e.Log = mustConfig(t).Log
		e.VMs = []*VM{{Facts: &qemu.VM{Name: "vm"}, Mem: mem, Blocks: []system.RAMBlock{{Name: "pc.ram", Length: pages * model.PageSize}}}}
		if err := e.layOut(); err != nil {
			t.Fatal(err)
		}
		first, err := dedup.Scan(t.Context(), e.Reader(), e.Layout, e.Seed, dedup.ScanOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 500 {
			write(c.first(i), uint64(i+1)<<32)
		}
		second, busy, err := e.LookAgain(t.Context(), first)
		if err != nil {
			t.Fatal(err)
		}
		e.CountPages(first, second)
		e.watch(first, second, busy)
		for i := 0; c.later != nil && i < 500; i++ {
			write(c.later(i), uint64(i+1)<<40)
		}
		if err := e.LearnSets(); err != nil {
			t.Fatal(err)
		}
		if w := e.Dirtied(0); w.Hot != 500*model.PageSize || math.Abs(w.Set-c.want*model.PageSize) > 0.01*w.Set {
			t.Errorf("%s: %.0f pages seen, %.0f in the set, want %.0f", c.name, w.Hot/model.PageSize, w.Set/model.PageSize, c.want)
		}
	}
}
