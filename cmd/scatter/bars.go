package main

import (
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/scatter-vm/scatter/scatter"
)

// bars draws a bar per VM and one for the total on a terminal; everything else is printed above them.
type bars struct {
	board    *board
	progress *mpb.Progress
	total    *mpb.Bar
	vms      map[string]*mpb.Bar

	mu     sync.Mutex // guards closed: lines still have a place when the bars are gone
	closed bool
	w      io.Writer
}

func newBars(w io.Writer, b *board, opts ...mpb.ContainerOption) *bars {
	return &bars{board: b, w: w, vms: map[string]*mpb.Bar{}, progress: mpb.New(append(opts, mpb.WithOutput(w), mpb.WithWidth(40))...)}
}

func (b *bars) Event(e scatter.Event, changed bool) {
	if line := eventLine(e, changed); line != "" && (e.VM == "" || e.Type == "warning" || e.Type == "blocker") {
		fmt.Fprintln(b, line) // a VM's stage is shown in its bar
	}
	lines, total := b.board.read()
	for _, l := range lines {
		if b.vms[l.Name] == nil {
			b.vms[l.Name] = b.newVM(l.Name)
		}
		draw(b.vms[l.Name], l)
	}
	if len(lines) > 0 && b.total == nil {
		b.total = b.newTotal()
	}
	if b.total != nil {
		draw(b.total, total)
	}
}

// draw sets a bar; one that is full completes only at Close, since converge may still move its total.
func draw(bar *mpb.Bar, l vmLine) {
	bar.SetTotal(l.Total, false)
	bar.SetCurrent(l.Bytes)
}

func (b *bars) newVM(name string) *mpb.Bar {
	return b.add(name, len(b.vms), func(decor.Statistics) string { return b.board.stageOf(name) })
}

func (b *bars) newTotal() *mpb.Bar {
	return b.add("total", 1<<30, func(decor.Statistics) string {
		wire, eta := b.board.speed()
		if eta <= 0 {
			return formatRate(wire)
		}
		return formatRate(wire) + ", " + formatSeconds(eta) + " left"
	})
}

func (b *bars) add(name string, priority int, note func(decor.Statistics) string) *mpb.Bar {
	return b.progress.AddBar(0, mpb.BarPriority(priority),
		mpb.PrependDecorators(decor.Name(name, decor.WC{C: decor.DindentRight | decor.DSyncWidth})),
		mpb.AppendDecorators(
			decor.Any(func(s decor.Statistics) string { return fmt.Sprintf("%3d %%", percent(s.Current, s.Total)) }, decor.WC{W: 6}),
			decor.Any(func(s decor.Statistics) string { return formatSize(s.Current) + " of " + formatSize(s.Total) }, decor.WC{C: decor.DSyncSpace}),
			decor.Any(note, decor.WC{C: decor.DindentRight | decor.DSyncSpaceR})))
}

// Write prints lines above the bars, or after them once they are closed.
func (b *bars) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return b.w.Write(p)
	}
	return b.progress.Write(p)
}

// Close leaves the bars as they stand and ends their drawing.
func (b *bars) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for _, bar := range b.vms {
		bar.Abort(false)
	}
	if b.total != nil {
		b.total.Abort(false)
	}
	b.progress.Wait()
}

// stageOf words where a VM is.
func (b *board) stageOf(vm string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.line(vm)
	if l.Host == "" || slices.Contains(final, l.Stage) && l.Stage != "evacuated" {
		return l.Stage
	}
	return "-> " + l.Host + "  " + l.Stage
}
