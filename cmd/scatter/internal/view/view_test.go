package view

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/vbauerster/mpb/v8"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter"
)

func TestPlainLines(t *testing.T) {
	var w strings.Builder
	b := newBoard()
	v := showOn(b, &plainLines{talk: talk{&w}, board: b})
	for _, e := range kit.Evacuation {
		v.Event(e)
	}
	v.Close()
	kit.Golden(t, "plain.txt", w.String())
}

// TestBars looks at the last picture that the bars leave.
func TestBars(t *testing.T) {
	var w bytes.Buffer
	b := newBoard()
	v := showOn(b, newBars(&w, b, mpb.WithAutoRefresh(), mpb.WithWidth(120)))
	for _, e := range kit.Evacuation {
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
