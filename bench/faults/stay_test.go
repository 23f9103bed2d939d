//go:build lab

package faults

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// disk makes an empty image in a directory of the source and returns QEMU's options for it. The targets find it by the same name.
func (s *scene) disk(dir, name string) []string {
	s.t.Helper()
	path := filepath.Join(s.dir, dir, name+".img")
	s.must(os.MkdirAll(filepath.Dir(path), 0o700))
	s.must(os.WriteFile(path, make([]byte, 1<<20), 0o600))
	return []string{"-drive", "file=" + path + ",format=raw,if=none,id=d0", "-device", "virtio-blk-pci,drive=d0"}
}

// lacking is the flags of a receiver that may open the images of this test and does not have those of some directories.
func (s *scene) lacking(dirs ...string) []string {
	flags := []string{"--allow-path", s.dir}
	for _, dir := range dirs {
		flags = append(flags, "--rewrite", filepath.Join(s.dir, dir)+"="+filepath.Join(s.dir, "lost", dir))
	}
	return flags
}

// A VM whose image one target lacks goes to the other one, whatever its pages would have been for.
func TestStayImageMissingOtherTakesIt(t *testing.T) {
	s := newScene(t)
	s.receive(s.Targets[0], s.lacking("images")...)
	s.receive(s.Targets[1], s.lacking()...)
	disk := s.idleVM("disk", s.disk("images", "disk")...)
	o := s.sendAs(slices.Concat(s.flags(s.guests), []string{"--vm", disk, "--verify"})...).finish()
	o.exits(s, 0)
	s.processOf("disk", s.Targets[1])
	if v := o.named(s, "disk"); v.State != evacuated || v.Host != s.Targets[1].Name {
		t.Errorf("report: %+v", v)
	}
}

// A VM whose image no target has stays, and is named with QEMU's words. The others go. With --all-or-none nobody goes.
func TestStayImageMissingEverywhere(t *testing.T) {
	s := newScene(t)
	s.receiveAll(s.lacking("images")...)
	disk := s.idleVM("disk", s.disk("images", "disk")...)
	send := func(flags ...string) *outcome {
		return s.sendAs(slices.Concat(s.flags(s.guests), s.placed(s.guests), []string{"--vm", disk, "--verify"}, flags)...).finish()
	}
	send("--all-or-none").exits(s, 4, "vm disk", "Could not open", "No such file")
	s.everybody(s.Source)
	o := send()
	o.exits(s, 3, "disk")
	o.reports(s, evacuated, evacuated)
	if v := o.named(s, "disk"); v.State != onSource || !strings.Contains(v.Cause, "No such file") {
		t.Errorf("report: %+v", v)
	}
	s.processOf("disk", s.Source)
	s.spread(s.Targets...)
}

// A VM that is left out is no part of it.
func TestStayExcluded(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	fixed := s.idleVM("fixed", "-device", "nvme,serial=1")
	o := s.sendAs(slices.Concat(s.flags(s.guests), s.placed(s.guests), []string{"--vm", fixed, "--verify", "--exclude", "fix*", "--all-or-none"})...).finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	if len(o.report.VMs) != len(s.guests) {
		t.Errorf("report: %+v", o.report.VMs)
	}
	s.processOf("fixed", s.Source)
}

// What another manager has set does not freeze a VM before its switch-over, nor slow it down; it is as it was where the VM stays.
func TestStaySettingsOfAnotherManager(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	m, err := s.guests[0].Monitor(t.Context())
	s.must(err)
	defer m.Close()
	s.must(m.Do(t.Context(), "migrate-set-capabilities", map[string]any{"capabilities": []map[string]any{
		{"capability": "pause-before-switchover", "state": true}, {"capability": "auto-converge", "state": true}}}, nil))
	s.must(m.Close())
	o := s.send().finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	s.spread(s.Targets...)
}
