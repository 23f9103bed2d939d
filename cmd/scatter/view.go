package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/scatter"
)

// renderer shows an evacuation while it runs. All methods are called from one goroutine. Write puts whole lines of
// other talk where they do not disturb.
type renderer interface {
	io.Writer
	Event(e scatter.Event, changed bool)
	Close()
}

// maxWaiting bounds what waits to be shown, in events and lines.
const maxWaiting = 4096

// view is an evacuation as the operator follows it. Event and Write never wait for whoever reads our output: a VM may be
// paused meanwhile. If the reader is too slow, what he does not get is counted.
type view struct {
	Log *slog.Logger

	now      *board // as it stands, for Ctrl-C
	picture  *board // as it is shown, for the renderer
	renderer renderer
	waiting  chan func()
	shown    chan struct{} // closed when all is shown
	lost     atomic.Int64
}

// newView chooses the renderer: JSON lines on stdout under --json (where events are wanted), bars on a terminal, else plain lines.
func (a *app) newView(events bool) *view {
	b := newBoard()
	v := showOn(b, a.newRenderer(b, events))
	v.Log = a.logger(v)
	return v
}

func (a *app) newRenderer(b *board, events bool) renderer {
	switch {
	case a.json && events:
		return &jsonLines{talk: talk{a.stderr}, out: json.NewEncoder(a.stdout)}
	case a.json:
		return talk{a.stderr}
	case isTerminal(a.stderr):
		return newBars(a.stderr, b)
	default:
		return &plainLines{talk: talk{a.stderr}, board: b}
	}
}

// showOn shows by r, which draws from b.
func showOn(b *board, r renderer) *view {
	v := &view{now: newBoard(), picture: b, renderer: r, waiting: make(chan func(), maxWaiting), shown: make(chan struct{})}
	go func() {
		defer close(v.shown)
		for show := range v.waiting {
			show()
		}
	}()
	return v
}

// Event takes an event into account and has it shown.
func (v *view) Event(e scatter.Event) {
	v.now.apply(e)
	v.enqueue(func() { v.renderer.Event(e, v.picture.apply(e)) })
}

// Write has a line shown.
func (v *view) Write(line []byte) (int, error) {
	line = slices.Clone(line)
	v.enqueue(func() { v.renderer.Write(line) })
	return len(line), nil
}

func (v *view) enqueue(show func()) {
	select {
	case v.waiting <- show:
	default:
		v.lost.Add(1)
	}
}

// Close shows what waits and ends the view. Nothing may be shown after it.
func (v *view) Close() {
	close(v.waiting)
	<-v.shown
	if n := v.lost.Load(); n > 0 {
		fmt.Fprintf(v.renderer, "scatter: output was not read in time: %d lines are missing\n", n)
	}
	v.renderer.Close()
}

// interruptible attaches Ctrl-C to ctx for as long as v is shown.
func (a *app) interruptible(ctx context.Context, v *view) (context.Context, func()) {
	say := func(format string, args ...any) { a.say(v, format, args...) }
	return interruptible(ctx, say, v.now.between, os.Exit)
}

// isTerminal tells whether w is one that bars can be drawn on: it must have a width.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	return err == nil && size.Col > 0
}

// talk is the renderer that shows no events, only what else there is to say.
type talk struct{ io.Writer }

func (talk) Event(scatter.Event, bool) {}
func (talk) Close()                    {}

// jsonLines prints every event as a line.
type jsonLines struct {
	talk
	out *json.Encoder
}

func (j *jsonLines) Event(e scatter.Event, _ bool) { j.out.Encode(e) }

// plainEvery is how often progress is worth a line where lines stay.
const plainEvery = 5 * time.Second

// plainLines prints stages, warnings and now and then the progress.
type plainLines struct {
	talk
	board *board
	last  time.Time // of the last progress line
}

func (p *plainLines) Event(e scatter.Event, changed bool) {
	if (e.Type == "progress" || e.Type == "scan") && !changed {
		if e.VM != "" || e.Time.Sub(p.last) < plainEvery {
			return
		}
		p.last = e.Time
		if e.Type == "scan" {
			fmt.Fprintf(p, "%s %s\n", clock(e.Time), scanLine(e))
			return
		}
		fmt.Fprintf(p, "%s %s\n", clock(e.Time), p.board.summary())
		return
	}
	if line := eventLine(e, changed); line != "" {
		fmt.Fprintf(p, "%s %s\n", clock(e.Time), line)
	}
}

// scanLine words how far the scan is. It reads less than all where memory was never touched, and some twice.
func scanLine(e scatter.Event) string {
	return fmt.Sprintf("scanned %s of at most %s", formatSize(e.Bytes), formatSize(e.Total))
}

func clock(t time.Time) string { return t.Format(time.TimeOnly) }

// eventLine words an event for people; "" means that it is not worth a line.
func eventLine(e scatter.Event, changed bool) string {
	who := ""
	if e.VM != "" {
		who = "vm " + e.VM + ": "
	} else if e.Host != "" {
		who = "host " + e.Host + ": "
	}
	switch {
	case e.Type == "warning" || e.Type == "blocker":
		return e.Type + ": " + who + e.Message
	case changed && e.VM != "" && e.Host != "":
		return "vm " + e.VM + " -> " + e.Host + ": " + e.Stage + more(e.Message)
	case changed:
		return who + e.Stage + more(e.Message)
	case e.Message != "":
		return who + e.Message
	}
	return ""
}

func more(message string) string {
	if message == "" {
		return ""
	}
	return ", " + message
}

// summary is the whole evacuation in one line.
func (b *board) summary() string {
	_, t := b.read()
	wire, eta := b.speed()
	s := fmt.Sprintf("%3d %%  %s of %s, %s", percent(t.Bytes, t.Total), formatSize(t.Bytes), formatSize(t.Total), formatRate(wire))
	if eta > 0 {
		s += ", " + formatSeconds(eta) + " left"
	}
	return s
}

func percent(part, whole int64) int {
	if whole <= 0 {
		return 0
	}
	return int(float64(part) / float64(whole) * 100)
}
