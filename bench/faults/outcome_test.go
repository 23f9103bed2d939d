//go:build lab

package faults

import (
	"encoding/json"
	"errors"
	"os"
	"strings"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/scatter"
)

// outcome is how a sender ended.
type outcome struct {
	Code     int
	Message  string
	Blockers []scatter.Blocker
	report   *scatter.Report
}

// outcome reads the exit object, which is the last line on stderr, and the report.
func (x *sender) outcome() *outcome {
	x.s.t.Helper()
	text := strings.TrimSpace(x.stderr.String())
	last := text[strings.LastIndexByte(text, '\n')+1:]
	o := &outcome{}
	if err := json.Unmarshal([]byte(last), o); err != nil {
		x.s.t.Fatalf("exit object %q: %v", last, err)
	}
	if code := x.cmd.ProcessState.ExitCode(); code != o.Code {
		x.s.t.Errorf("exit status %d, but its last words are of %d: %s", code, o.Code, o.Message)
	}
	b, err := os.ReadFile(x.file)
	if errors.Is(err, os.ErrNotExist) {
		return o
	}
	x.s.must(err)
	o.report = new(scatter.Report)
	x.s.must(json.Unmarshal(b, o.report))
	return o
}

// exits checks the exit status, and that the last words hold all the texts.
func (o *outcome) exits(s *scene, code int, texts ...string) {
	s.t.Helper()
	if o.Code != code {
		s.t.Errorf("exit status %d instead of %d: %s", o.Code, code, o.Message)
	}
	said := o.Message
	for _, b := range o.Blockers {
		said += "\n" + b.String()
	}
	for _, text := range texts {
		if !strings.Contains(said, text) {
			s.t.Errorf("it does not say %q: %s", text, said)
		}
	}
}

// States of the report.
const (
	evacuated = "evacuated"
	onSource  = "on-source"
	inDoubt   = "in-doubt"
	ended     = "ended"
)

// reports checks what the report says of each guest, in their order.
func (o *outcome) reports(s *scene, states ...string) {
	s.t.Helper()
	for i, want := range states {
		v := o.vm(s, s.guests[i])
		if v.State != want {
			s.t.Errorf("report: guest %s is %q instead of %q: %s", s.guests[i].Name, v.State, want, v.Cause)
		}
		if v.State == evacuated && !v.Verified {
			s.t.Errorf("report: guest %s was not verified", v.Name)
		}
		if v.State != evacuated && v.Cause == "" {
			s.t.Errorf("report: guest %s is %q without a cause", v.Name, v.State)
		}
	}
}

// warns checks that the report has a warning that holds all the texts.
func (o *outcome) warns(s *scene, texts ...string) {
	s.t.Helper()
	if o.report == nil {
		s.t.Fatal("no report")
	}
	for _, w := range o.report.Warnings {
		all := true
		for _, text := range texts {
			all = all && strings.Contains(w, text)
		}
		if all {
			return
		}
	}
	s.t.Errorf("no warning says %q: %q", texts, o.report.Warnings)
}

// vm is what the report says of a guest.
func (o *outcome) vm(s *scene, g *lab.Guest) scatter.VMReport {
	s.t.Helper()
	return o.named(s, g.Name)
}

// named is what the report says of a VM.
func (o *outcome) named(s *scene, name string) scatter.VMReport {
	s.t.Helper()
	if o.report == nil {
		s.t.Fatal("no report")
	}
	for _, v := range o.report.VMs {
		if v.Name == name {
			return v
		}
	}
	s.t.Fatalf("report: nothing of VM %s", name)
	return scatter.VMReport{}
}

// blames checks that the report gives a cause for a guest that stays.
func (o *outcome) blames(s *scene, g *lab.Guest, text string) {
	s.t.Helper()
	if cause := o.vm(s, g).Cause; !strings.Contains(cause, text) {
		s.t.Errorf("report: guest %s stays because of %q, not of %q", g.Name, cause, text)
	}
}
