package move

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pageset"
	"github.com/scatter-vm/scatter/scatter/system"
)

// filter passes a VM's migration stream on and leaves out the pages that the target already holds.
// It belongs to one goroutine; its counters may be read by others.
//
// What the target holds is known by the keyed hash of the bytes that were last sent for each page, and,
// where nothing was sent, by the target's word that the block was all zero when its QEMU started. A filter that
// may not rely on either (blind) passes everything.
type filter struct {
	held  *dedup.Held
	seed  dedup.Seed
	first []dedup.Page // first page of each block
	zero  []bool       // by block: pages that were never sent are zero on the target
	blind bool

	absent *pageset.Set                          // what the target does not have in memory, zeros neither; nil: all that counts is what it would read
	warm   *pageset.Set                          // of these, what QEMU has told it to drop
	later  *pageset.Set                          // what was not passed on, for post-copy brings it; nil: all is passed on
	read   func(p pageset.Page, to []byte) error // a page out of the VM, which stands still
	passed func() error                          // is called near the end of the first pass, once, where pages are left to post-copy; returns when that may begin
	all    int64                                 // pages of the VM
	slow   bool                                  // passed was called
	packed bool                                  // the VM takes over: its device state follows, in a package

	header []byte // the stream's first bytes, which the target already has
	w      *stream.Writer
	open   bool               // a section that takes pages is open in w
	last   bool               // that is ram's END section, which passes as it is
	pong   func(uint32) error // answers a PING that is not passed on

	sent      atomic.Int64 // bytes of pages passed on
	processed atomic.Int64 // pages seen
	resent    atomic.Int64 // pages passed on
}

// HeaderError says that QEMU's stream does not begin as it did at preflight.
type HeaderError struct{ At int }

func (e *HeaderError) Error() string {
	return fmt.Sprintf("the migration stream differs from preflight's at byte %d: the VM's devices or memory changed; evacuate it again", e.At)
}

// run copies p to the writer until the opaque tail begins. The caller copies the tail. A ram section of which nothing
// passes leaves no trace, but for the last.
func (f *filter) run(p *stream.Parser) error {
	if err := f.skipHeader(p); err != nil {
		return err
	}
	if err := f.w.Follow(p); err != nil {
		return err
	}
	for {
		it, err := p.Next()
		if err != nil {
			return system.NoEOF(err)
		}
		if it.Kind == stream.KindTail {
			return f.w.Flush()
		}
		if err := f.item(p, it); err != nil {
			return err
		}
		if f.packed {
			return f.w.Flush()
		}
		if f.later != nil && !f.last && it.Kind != stream.KindCommand && f.processed.Load() >= f.all-lastPages {
			if err := f.nearEnd(); err != nil {
				return err
			}
		}
	}
}

func (f *filter) item(p *stream.Parser, it *stream.Item) error {
	switch it.Kind {
	case stream.KindCommand:
		return f.command(p, it)
	case stream.KindPage, stream.KindZero:
		return f.page(it)
	case stream.KindSectionEnd:
		if it.Section.Name == "ram" {
			if err := f.makeUp(); err != nil {
				return err
			}
		}
		f.last = f.last || it.Section.Name == "ram"
		f.open = f.last
	}
	if f.last || it.Section.Name != "ram" {
		return f.w.Item(p, it)
	}
	switch it.Kind {
	case stream.KindEOS:
		if f.open {
			f.open = false
			return f.w.EndPart()
		}
		return nil
	case stream.KindSectionPart, stream.KindFooter:
		return nil // opened by the first page that passes, closed with its EOS
	}
	return fmt.Errorf("%s in section ram after its start", it.Kind)
}

// command takes what QEMU says on the way into post-copy; anything else passes.
func (f *filter) command(p *stream.Parser, it *stream.Item) error {
	switch it.Command {
	case stream.CmdPing:
		return f.pong(binary.BigEndian.Uint32(it.Payload))
	case stream.CmdPostcopyRAMDiscard:
		return f.discard(p, it)
	case stream.CmdPackaged:
		f.packed = true
		return nil
	}
	return f.w.Item(p, it)
}

// nearEnd slows the stream down near the end of the first pass, where pages are left to post-copy: QEMU, which is told to switch over now, must not find
// that nothing remains, or it would complete a pre-copy. It looks at most 50 ms later (migration/ram.c, MAX_WAIT), by when it has not come to the end. That
// little of what is there already will be sent once more. It is not stopped altogether: then its monitor might not answer.
func (f *filter) nearEnd() error {
	if !f.slow {
		f.slow = true
		if err := f.passed(); err != nil {
			return err
		}
	}
	if f.processed.Load()%slowPages == 0 {
		time.Sleep(slowNap)
	}
	return nil
}

const (
	slowPages = 16 // 64 MB/s at most
	slowNap   = time.Millisecond
	lastPages = 1024
)

// makeUp passes on what was left to a post-copy that did not come about: QEMU ends its pre-copy by itself when its guest has become quiet. The VM
// stands still.
func (f *filter) makeUp() error {
	if f.later == nil || f.later.Len() == 0 {
		return nil
	}
	if err := f.w.BeginPart(); err != nil {
		return err
	}
	data := make([]byte, model.PageSize)
	for r := range f.later.Runs() {
		for i := range r.N {
			p := pageset.Page{Region: r.Region, Page: r.First + i}
			if err := f.read(p, data); err != nil {
				return err
			}
			if err := f.w.Page(p.Region, uint64(p.Page)*model.PageSize, data); err != nil {
				return err
			}
		}
	}
	return f.w.EndPart()
}

// discard notes pages that QEMU has the target drop: it has written them since they were sent.
func (f *filter) discard(p *stream.Parser, it *stream.Item) error {
	d, err := stream.ParseDiscard(it.Payload)
	if err != nil {
		return err
	}
	region := slices.IndexFunc(p.Blocks(), func(b stream.RAMBlock) bool { return b.Name == d.Block })
	for _, r := range d.Ranges {
		first, n := uint32(r.Start/model.PageSize), uint32((r.Length+model.PageSize-1)/model.PageSize)
		if f.absent == nil || !f.absent.AddRun(region, first, n) || !f.warm.AddRun(region, first, n) {
			return fmt.Errorf("%d pages from %d on of ram block %s are to be dropped, out of turn", n, first, d.Block)
		}
		for i := range n {
			f.held.Forget(f.first[region] + dedup.Page(first+i))
		}
	}
	return nil
}

func (f *filter) page(it *stream.Item) error {
	if !f.passes(it) {
		return nil
	}
	if !f.open {
		if err := f.w.BeginPart(); err != nil {
			return err
		}
		f.open = true
	}
	if it.Kind == stream.KindZero {
		return f.w.Zero(it.Block, it.Offset)
	}
	return f.w.Page(it.Block, it.Offset, it.Data)
}

// skipHeader reads up to the end of the ram START section and compares it to what preflight saw.
func (f *filter) skipHeader(p *stream.Parser) error {
	at := 0
	for at < len(f.header) {
		it, err := p.Next()
		if err != nil {
			return system.NoEOF(err)
		}
		if !bytes.HasPrefix(f.header[at:], it.Raw) || len(it.Raw) == 0 {
			return &HeaderError{at}
		}
		at += len(it.Raw)
		if it.Kind == stream.KindCommand && it.Command == stream.CmdPing {
			if err := f.pong(binary.BigEndian.Uint32(it.Payload)); err != nil {
				return err
			}
		}
	}
	return nil
}

// passes tells whether the target needs the record, and notes that it is going to have it.
func (f *filter) passes(it *stream.Item) bool {
	f.processed.Add(1)
	page := f.first[it.Block] + dedup.Page(it.Offset/model.PageSize)
	var now uint64
	if it.Kind == stream.KindPage {
		now = dedup.HashPage(f.seed, it.Data)
	}
	if f.held.Get(page) == now && !f.blind && (now != 0 || f.zero[it.Block]) {
		return false
	}
	if f.later != nil {
		f.held.Forget(page)
		f.later.Add(pageset.Page{Region: it.Block, Page: uint32(it.Offset / model.PageSize)})
		f.absent.Add(pageset.Page{Region: it.Block, Page: uint32(it.Offset / model.PageSize)})
		return false
	}
	f.held.Set(page, now)
	if f.absent != nil {
		f.absent.Remove(pageset.Page{Region: it.Block, Page: uint32(it.Offset / model.PageSize)})
	}
	f.resent.Add(1)
	f.sent.Add(int64(len(it.Data)))
	return true
}
