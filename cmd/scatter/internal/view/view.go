// Package view shows an evacuation while it runs.
package view

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/units"
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

// View is an evacuation as the operator follows it. Event and Write never wait for whoever reads our output: a VM may be
// paused meanwhile. If the reader is too slow, what he does not get is counted.
type View struct {
	Log *slog.Logger // whose lines are shown by Write; set by who makes the view

	now      *board // as it stands, for Ctrl-C
	picture  *board // as it is shown, for the renderer
	renderer renderer
	waiting  chan func()
	shown    chan struct{} // closed when all is shown
	lost     atomic.Int64
}

// Options say how a view shows an evacuation.
type Options struct {
	JSON   bool // for programs
	Events bool // with JSON: every event is a line on stdout
}

// New begins a view: with JSON lines if options say so, with bars where stderr is a terminal, else with plain lines. Close ends it.
func New(stdout, stderr io.Writer, options Options) *View {
	b := newBoard()
	return showOn(b, newRenderer(b, stdout, stderr, options))
}

func newRenderer(b *board, stdout, stderr io.Writer, options Options) renderer {
	switch {
	case options.JSON && options.Events:
		return &jsonLines{talk: talk{stderr}, out: json.NewEncoder(stdout)}
	case options.JSON:
		return talk{stderr}
	case isTerminal(stderr):
		return newBars(stderr, b)
	default:
		return &plainLines{talk: talk{stderr}, board: b}
	}
}

// showOn shows by r, which draws from b.
func showOn(b *board, r renderer) *View {
	v := &View{now: newBoard(), picture: b, renderer: r, waiting: make(chan func(), maxWaiting), shown: make(chan struct{})}
	go func() {
		defer close(v.shown)
		for show := range v.waiting {
			show()
		}
	}()
	return v
}

// Event takes an event into account and has it shown.
func (v *View) Event(e scatter.Event) {
	v.now.apply(e)
	v.enqueue(func() { v.renderer.Event(e, v.picture.apply(e)) })
}

// Write has a line shown. It never fails.
func (v *View) Write(line []byte) (int, error) {
	line = slices.Clone(line)
	v.enqueue(func() { v.renderer.Write(line) })
	return len(line), nil
}

func (v *View) enqueue(show func()) {
	select {
	case v.waiting <- show:
	default:
		v.lost.Add(1)
	}
}

// Close shows what waits and ends the view. Nothing may be shown after it.
func (v *View) Close() {
	close(v.waiting)
	<-v.shown
	if n := v.lost.Load(); n > 0 {
		fmt.Fprintf(v.renderer, "scatter: output was not read in time: %d lines are missing\n", n)
	}
	v.renderer.Close()
}

// Between lists the VMs that are between two hosts at the moment, each with its stage. It may be called at any time, by anyone.
func (v *View) Between() []string { return v.now.between() }

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
	return fmt.Sprintf("scanned %s of at most %s", units.FormatSize(e.Bytes), units.FormatSize(e.Total))
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
	s := fmt.Sprintf("%3d %%  %s of %s, %s", units.Percent(t.Bytes, t.Total), units.FormatSize(t.Bytes), units.FormatSize(t.Total), units.FormatRate(wire))
	if eta > 0 {
		s += ", " + units.FormatSeconds(eta) + " left"
	}
	return s
}
