package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vbauerster/mpb/v8"

	"github.com/scatter-vm/scatter/scatter"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// evacuation is a short one, as events.
var evacuation = []scatter.Event{
	{Type: "stage", Time: at(0), Stage: "scan"},
	{Type: "warning", Time: at(1), Host: "gamma", Message: "multicast does not pass; it gets its share by unicast"},
	{Type: "stage", Time: at(2), Stage: "bulk"},
	{Type: "vm", Time: at(2), VM: "web", Host: "beta", Stage: "bulk"},
	{Type: "progress", Time: at(3), VM: "web", Bytes: 64 << 20, Total: 512 << 20},
	{Type: "progress", Time: at(3), Bytes: 64 << 20, Total: 512 << 20, WireRate: 60_000_000},
	{Type: "progress", Time: at(4), VM: "web", Bytes: 128 << 20, Total: 512 << 20},
	{Type: "progress", Time: at(4), Bytes: 128 << 20, Total: 512 << 20, WireRate: 60_000_000},
	{Type: "progress", Time: at(8), VM: "web", Bytes: 384 << 20, Total: 512 << 20},
	{Type: "progress", Time: at(8), Bytes: 384 << 20, Total: 512 << 20, WireRate: 62_500_000},
	{Type: "vm", Time: at(9), VM: "web", Host: "beta", Stage: "converge"},
	{Type: "vm", Time: at(10), VM: "db", Host: "gamma", Stage: "on-source", Message: "dirties memory faster than the link carries"},
	{Type: "vm", Time: at(11), VM: "web", Host: "beta", Stage: "evacuated"},
	{Type: "done", Time: at(12), Message: "1 of 2 evacuated"},
}

func TestPlainLines(t *testing.T) {
	var w strings.Builder
	b := newBoard()
	v := showOn(b, &plainLines{talk: talk{&w}, board: b})
	for _, e := range evacuation {
		v.Event(e)
	}
	v.Close()
	golden(t, "plain.txt", w.String())
}

func TestJSONLines(t *testing.T) {
	var out, talk bytes.Buffer
	a := newApp(&out, &talk, func(string) string { return "" })
	a.json = true
	v := a.newView(true)
	for _, e := range evacuation {
		v.Event(e)
	}
	v.Log.Error("oops", "vm", "web")
	v.Close()
	golden(t, "events.json", out.String())
	if !strings.Contains(talk.String(), `"msg":"oops","vm":"web"`) {
		t.Errorf("log %q", talk.String())
	}
}

func TestQuietJSON(t *testing.T) {
	var out bytes.Buffer
	a := newApp(&out, &bytes.Buffer{}, func(string) string { return "" })
	a.json = true
	v := a.newView(false)
	v.Event(evacuation[0])
	v.Close()
	if out.Len() > 0 {
		t.Errorf("got %q", out.String())
	}
}

// TestBars looks at the last picture that the bars leave.
func TestBars(t *testing.T) {
	var w bytes.Buffer
	b := newBoard()
	v := showOn(b, newBars(&w, b, mpb.WithAutoRefresh(), mpb.WithWidth(120)))
	for _, e := range evacuation {
		v.Event(e)
	}
	if _, err := v.Write([]byte("a line\n")); err != nil {
		t.Fatal(err)
	}
	v.Close()
	got := w.String()
	for _, want := range []string{
		"warning: host gamma: multicast does not pass", "bulk", "1 of 2 evacuated", "-> beta  evacuated", "on-source",
		"total", "100 %  512 MiB of 512 MiB", "500 Mbit/s", "a line\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
}

func TestBarsWithoutAnyEvent(t *testing.T) {
	v := newBars(&bytes.Buffer{}, newBoard(), mpb.WithAutoRefresh())
	v.Close()
}

// stuck is a renderer whose reader does not read before go is closed.
type stuck struct {
	talk
	goOn chan struct{}
	seen int
}

func (s *stuck) Event(scatter.Event, bool) {
	<-s.goOn
	s.seen++
}

func TestSlowReaderDoesNotHoldTheEvacuationUp(t *testing.T) {
	var w strings.Builder
	r := &stuck{talk: talk{&w}, goOn: make(chan struct{})}
	v := showOn(newBoard(), r)
	const extra = 10
	for range maxWaiting + 1 + extra {
		v.Event(scatter.Event{Type: "progress"}) // would block for ever
	}
	close(r.goOn)
	v.Close()
	if lost := maxWaiting + 1 + extra - r.seen; lost < extra || !strings.Contains(w.String(), fmt.Sprintf("%d lines are missing", lost)) {
		t.Errorf("%d lost, said %q", lost, w.String())
	}
}
