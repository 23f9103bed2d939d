package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/scatter"
)

// renderer shows an evacuation while it runs. Event is called from one goroutine; Write, from any, puts whole
// lines of other talk where they do not disturb.
type renderer interface {
	io.Writer
	Event(e scatter.Event, changed bool)
	Close()
}

// view is an evacuation as the operator follows it: the board and one renderer of it.
type view struct {
	*board
	renderer
	Log *slog.Logger
}

// newView chooses the renderer: JSON lines on stdout under --json (where events are wanted), bars on a terminal, else plain lines.
func (a *app) newView(events bool) *view {
	v := &view{board: newBoard()}
	switch {
	case a.json && events:
		v.renderer = &jsonLines{talk: talk{w: a.stderr}, out: json.NewEncoder(a.stdout)}
	case a.json:
		v.renderer = &talk{w: a.stderr}
	case isTerminal(a.stderr):
		v.renderer = newBars(a.stderr, v.board)
	default:
		v.renderer = &plainLines{talk: talk{w: a.stderr}, board: v.board}
	}
	v.Log = a.logger(v.renderer)
	return v
}

func (v *view) Event(e scatter.Event) { v.renderer.Event(e, v.board.apply(e)) }

// interruptible attaches Ctrl-C to ctx for as long as v is shown.
func (a *app) interruptible(ctx context.Context, v *view) (context.Context, func()) {
	say := func(format string, args ...any) { a.say(v, format, args...) }
	return interruptible(ctx, say, v.between, os.Exit)
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
type talk struct {
	mu sync.Mutex // one line at a time
	w  io.Writer
}

func (t *talk) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.w.Write(b)
}

func (t *talk) Event(scatter.Event, bool) {}
func (t *talk) Close()                    {}

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
	if e.Type == "progress" && !changed {
		if e.VM != "" || e.Time.Sub(p.last) < plainEvery {
			return
		}
		p.last = e.Time
		fmt.Fprintf(p, "%s %s\n", clock(e.Time), p.board.summary())
		return
	}
	if line := eventLine(e, changed); line != "" {
		fmt.Fprintf(p, "%s %s\n", clock(e.Time), line)
	}
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
