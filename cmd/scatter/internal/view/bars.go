package view

import (
	"fmt"
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/units"
	"github.com/scatter-vm/scatter/scatter"
)

// barWidth is the width of a bar itself, in columns; the rest of the line is for text.
const barWidth = 30

// bars draws a bar per VM and one for the total on a terminal; everything else is printed above them.
type bars struct {
	board    *board
	progress *mpb.Progress
	total    *mpb.Bar
	vms      map[string]*mpb.Bar
	last     time.Time // of the last line about the scan
}

func newBars(w io.Writer, b *board, opts ...mpb.ContainerOption) *bars {
	return &bars{board: b, vms: map[string]*mpb.Bar{}, progress: mpb.New(append(opts, mpb.WithOutput(w))...)}
}

func (b *bars) Event(e scatter.Event, changed bool) {
	if e.Type == "scan" {
		if e.Time.Sub(b.last) >= plainEvery {
			b.last = e.Time
			fmt.Fprintln(b, scanLine(e))
		}
		return
	}
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

// draw sets a bar. It is never completed before Close, since converge may still move its total. A VM of which
// only the stage is known has an empty bar until it is there.
func draw(bar *mpb.Bar, l vmLine) {
	if l.Total <= 0 {
		l.Total = 1
		if l.Stage == "evacuated" {
			l.Bytes = 1
		}
	}
	bar.SetTotal(l.Total, false)
	bar.SetCurrent(l.Bytes)
}

func (b *bars) newVM(name string) *mpb.Bar {
	return b.add(name, len(b.vms), func() vmLine { return b.board.read1(name) }, stageText)
}

func (b *bars) newTotal() *mpb.Bar {
	total := func() vmLine { _, t := b.board.read(); return t }
	return b.add("total", 1<<30, total, func(vmLine) string {
		wire, eta := b.board.speed()
		if eta <= 0 {
			return units.FormatRate(wire)
		}
		return units.FormatRate(wire) + ", " + units.FormatSeconds(eta) + " left"
	})
}

// add makes the bar of a line, which read gives; what is known of its bytes and its note follow the bar.
func (b *bars) add(name string, priority int, read func() vmLine, note func(vmLine) string) *mpb.Bar {
	return b.progress.AddBar(0, mpb.BarPriority(priority), mpb.BarWidth(barWidth),
		mpb.PrependDecorators(decor.Name(name, decor.WC{C: decor.DindentRight | decor.DSyncWidth})),
		mpb.AppendDecorators(
			decor.Any(func(decor.Statistics) string { return bytesText(read()) }, decor.WC{C: decor.DSyncSpace}),
			decor.Any(func(decor.Statistics) string { return "  " + note(read()) }, decor.WC{C: decor.DindentRight | decor.DSyncWidth})))
}

func bytesText(l vmLine) string {
	if l.Total <= 0 {
		return ""
	}
	return fmt.Sprintf("%d %%  %s of %s", units.Percent(l.Bytes, l.Total), units.FormatSize(l.Bytes), units.FormatSize(l.Total))
}

// stageText words where a VM is.
func stageText(l vmLine) string {
	if l.Host == "" || l.Stage == "on-source" || l.Stage == "in-doubt" {
		return l.Stage
	}
	return "-> " + l.Host + "  " + l.Stage
}

// Write prints lines above the bars.
func (b *bars) Write(p []byte) (int, error) { return b.progress.Write(p) }

// Close leaves the bars as they stand and ends their drawing.
func (b *bars) Close() {
	for _, bar := range b.vms {
		bar.Abort(false)
	}
	if b.total != nil {
		b.total.Abort(false)
	}
	b.progress.Wait()
}
