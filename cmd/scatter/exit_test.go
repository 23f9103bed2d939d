package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/usage"
	"github.com/scatter-vm/scatter/scatter"
)

// reportOf makes a report of VMs a, b, ... in the given states.
func reportOf(states ...string) *scatter.Report {
	r := &scatter.Report{}
	for i, s := range states {
		r.VMs = append(r.VMs, scatter.VMReport{Name: string(rune('a' + i)), Host: "beta", State: s})
	}
	return r
}

// quiet is a run whose output nobody looks at.
func quiet() *app { return newApp(io.Discard, io.Discard, func(string) string { return "" }) }

func TestSendStatus(t *testing.T) {
	blocked := &scatter.BlockedError{Blockers: []scatter.Blocker{{VM: "a", Problem: "has a vfio device"}}}
	wrapped := fmt.Errorf("bulk: %w", scatter.ErrCancelled)
	for _, c := range []struct {
		name   string
		report *scatter.Report
		err    error
		code   int
		text   string
	}{
		{"all there", reportOf("evacuated", "evacuated"), nil, exitOK, ""},
		{"all there, cancelled too late", reportOf("evacuated"), scatter.ErrCancelled, exitOK, ""},
		{"one stays", reportOf("evacuated", "on-source"), nil, exitSomeStay, "running: b"},
		{"all stay", reportOf("on-source", "on-source"), errors.New("target beta is gone"), exitSomeStay, "a, b (target beta is gone)"},
		{"cancelled", reportOf("evacuated", "on-source"), wrapped, exitCancelled, "running: b"},
		{"doubt outweighs all", reportOf("in-doubt", "on-source", "evacuated"), wrapped, exitInDoubt, "in doubt: a; run 'scatter recover'"},
		{"unknown state", reportOf("new-state"), nil, exitSomeStay, "a"},
		{"blocked", nil, blocked, exitNothing, "vfio"},
		{"cancelled before anything", nil, wrapped, exitCancelled, "nothing moved: bulk: cancelled"},
		{"other error", nil, errors.New("journal: disk full"), exitNothing, "nothing moved: journal"},
		{"empty report", &scatter.Report{}, nil, exitNothing, "nothing to move"},
		{"usage", nil, usage.Errorf("--rate"), exitUsage, "--rate"},
	} {
		err := quiet().sendStatus(c.report, c.err)
		if exitCode(err) != c.code || (err == nil) != (c.text == "") || err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: status %d, %v; want %d, %q", c.name, exitCode(err), err, c.code, c.text)
		}
	}
}

func TestRecoverStatus(t *testing.T) {
	report := func(where ...scatter.Where) *scatter.RecoverReport {
		r := &scatter.RecoverReport{}
		for _, w := range where {
			r.VMs = append(r.VMs, scatter.Recovered{VM: "a", Where: w})
		}
		return r
	}
	for _, c := range []struct {
		report *scatter.RecoverReport
		err    error
		code   int
	}{
		{report(), nil, exitOK},
		{report(scatter.OnSource, scatter.OnTarget), nil, exitOK},
		{report(scatter.OnSource, scatter.InDoubt), nil, exitInDoubt},
		{report("somewhere"), nil, exitInDoubt},
		{nil, errors.New("journal damaged"), exitInDoubt},
		{nil, scatter.ErrCancelled, exitCancelled},
		{report(), fmt.Errorf("send-1.journal: %w", scatter.ErrJournalBusy), exitFailed},
		{report(scatter.InDoubt), scatter.ErrCancelled, exitInDoubt},
	} {
		if got := exitCode(recoverStatus(c.report, c.err)); got != c.code {
			t.Errorf("%+v, %v: status %d, want %d", c.report, c.err, got, c.code)
		}
	}
}

func TestExitCodeOfOtherErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, 0}, {errors.New("x"), 1}, {usage.Errorf("x"), 2}, {context.Canceled, 130}, {fmt.Errorf("x: %w", scatter.ErrCancelled), 130},
		{checkStatus([]scatter.Finding{{Level: "warning"}, {Level: "ok"}}), 0}, {checkStatus([]scatter.Finding{{Level: "error"}}), 1},
	} {
		if got := exitCode(c.err); got != c.code {
			t.Errorf("%v: status %d, want %d", c.err, got, c.code)
		}
	}
}

func TestLastWords(t *testing.T) {
	two := &scatter.BlockedError{Blockers: []scatter.Blocker{{VM: "a", Problem: "p", Remedy: "r"}, {Host: "h", Problem: "q"}}}
	for _, c := range []struct {
		err  error
		json bool
		want string
	}{
		{nil, false, ""},
		{errors.New("x"), false, "scatter: x\n"},
		{nil, true, `{"type":"exit","code":0}` + "\n"},
		{two, false, "scatter: nothing moved:\n  - vm a: p (r)\n  - host h: q\n"},
		{nothingMoved(two), true, `{"type":"exit","code":4,"message":"nothing moved: 2 blockers, first: vm a: p (r)",` +
			`"blockers":[{"vm":"a","problem":"p","remedy":"r"},{"host":"h","problem":"q"}]}` + "\n"},
		{quiet().sendStatus(reportOf("in-doubt", "on-source"), nil), true, `{"type":"exit","code":5,` +
			`"message":"in doubt: a; run 'scatter recover' here and on the target before anything else","stayed":["b"],"in_doubt":["a"]}` + "\n"},
	} {
		var w strings.Builder
		sayExit(&w, c.json, c.err)
		if w.String() != c.want {
			t.Errorf("got %q\nwant %q", w.String(), c.want)
		}
	}
}
