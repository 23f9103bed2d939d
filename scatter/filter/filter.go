// Package filter leaves out of a VM's migration stream what its target holds already.
package filter

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

// Filter passes a VM's migration stream on and leaves out the pages that the target already holds.
// It belongs to one goroutine; its counters may be read by others.
//
// What the target holds is known by the keyed hash of the bytes that were last sent for each page, and,
// where nothing was sent, by the target's word that the block was all zero when its QEMU started. A filter that
// may not rely on either (blind) passes everything.
type Filter struct {
	Held   *dedup.Held
	Seed   dedup.Seed
	First  []dedup.Page // first page of each block
	Zero   []bool       // by block: pages that were never sent are zero on the target
	Blind  bool
	Header []byte // the stream's first bytes, which the target already has
	W      *stream.Writer
	Pong   func(uint32) error // answers a PING that is not passed on

	Absent *pageset.Set                          // what the target does not have in memory, zeros neither; nil: all that counts is what it would read
	Warm   *pageset.Set                          // of these, what QEMU has told it to drop
	Later  *pageset.Set                          // what was not passed on, for post-copy brings it; nil: all is passed on
	Read   func(p pageset.Page, to []byte) error // a page out of the VM, which stands still
	Passed func() error                          // is called near the end of the first pass, once, where pages are left to post-copy; returns when that may begin
	all    int64                                 // pages of the VM
	slow   bool                                  // Passed was called
	Packed bool                                  // the VM takes over: its device state follows, in a package

	open bool // a section that takes pages is open in W
	last bool // that is ram's END section, which passes as it is

	Sent      atomic.Int64 // bytes of pages passed on
	Processed atomic.Int64 // pages seen
	Resent    atomic.Int64 // pages passed on
}

// Lack has the filter know what the target does not have in memory, of blocks of so many pages.
func (f *Filter) Lack(sizes []uint32) {
	f.Absent, f.Warm = pageset.New(sizes...), pageset.New(sizes...)
	for i, n := range sizes {
		f.all += int64(n)
		for p := range n {
			if f.Blind || !f.Held.Sent(f.First[i]+dedup.Page(p)) {
				f.Absent.Add(pageset.Page{Region: i, Page: p})
			}
		}
	}
}

// HeaderError says that QEMU's stream does not begin as it did at preflight.
type HeaderError struct{ At int }

func (e *HeaderError) Error() string {
	return fmt.Sprintf("the migration stream differs from preflight's at byte %d: the VM's devices or memory changed; evacuate it again", e.At)
}

// Run copies p to the writer until the opaque tail begins. The caller copies the tail. A ram section of which nothing
// passes leaves no trace, but for the last.
func (f *Filter) Run(p *stream.Parser) error {
	if err := f.skipHeader(p); err != nil {
		return err
	}
	if err := f.W.Follow(p); err != nil {
		return err
	}
	for {
		it, err := p.Next()
		if err != nil {
			return system.NoEOF(err)
		}
		if it.Kind == stream.KindTail {
			return f.W.Flush()
		}
		if err := f.item(p, it); err != nil {
			return err
		}
		if f.Packed {
			return f.W.Flush()
		}
		if f.Later != nil && !f.last && it.Kind != stream.KindCommand && f.Processed.Load() >= f.all-lastPages {
			if err := f.nearEnd(); err != nil {
				return err
			}
		}
	}
}

func (f *Filter) item(p *stream.Parser, it *stream.Item) error {
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
		return f.W.Item(p, it)
	}
	switch it.Kind {
	case stream.KindEOS:
		if f.open {
			f.open = false
			return f.W.EndPart()
		}
		return nil
	case stream.KindSectionPart, stream.KindFooter:
		return nil // opened by the first page that passes, closed with its EOS
	}
	return fmt.Errorf("%s in section ram after its start", it.Kind)
}

// command takes what QEMU says on the way into post-copy; anything else passes.
func (f *Filter) command(p *stream.Parser, it *stream.Item) error {
	switch it.Command {
	case stream.CmdPing:
		return f.Pong(binary.BigEndian.Uint32(it.Payload))
	case stream.CmdPostcopyRAMDiscard:
		return f.discard(p, it)
	case stream.CmdPackaged:
		f.Packed = true
		return nil
	}
	return f.W.Item(p, it)
}

// nearEnd slows the stream down near the end of the first pass, where pages are left to post-copy: QEMU, which is told to switch over now, must not find
// that nothing remains, or it would complete a pre-copy. It looks at most 50 ms later (migration/ram.c, MAX_WAIT), by when it has not come to the end. That
// little of what is there already will be sent once more. It is not stopped altogether: then its monitor might not answer.
func (f *Filter) nearEnd() error {
	if !f.slow {
		f.slow = true
		if err := f.Passed(); err != nil {
			return err
		}
	}
	if f.Processed.Load()%slowPages == 0 {
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
func (f *Filter) makeUp() error {
	if f.Later == nil || f.Later.Len() == 0 {
		return nil
	}
	if err := f.W.BeginPart(); err != nil {
		return err
	}
	data := make([]byte, model.PageSize)
	for r := range f.Later.Runs() {
		for i := range r.N {
			p := pageset.Page{Region: r.Region, Page: r.First + i}
			if err := f.Read(p, data); err != nil {
				return err
			}
			if err := f.W.Page(p.Region, uint64(p.Page)*model.PageSize, data); err != nil {
				return err
			}
		}
	}
	return f.W.EndPart()
}

// discard notes pages that QEMU has the target drop: it has written them since they were sent.
func (f *Filter) discard(p *stream.Parser, it *stream.Item) error {
	d, err := stream.ParseDiscard(it.Payload)
	if err != nil {
		return err
	}
	region := slices.IndexFunc(p.Blocks(), func(b stream.RAMBlock) bool { return b.Name == d.Block })
	for _, r := range d.Ranges {
		first, n := uint32(r.Start/model.PageSize), uint32((r.Length+model.PageSize-1)/model.PageSize)
		if f.Absent == nil || !f.Absent.AddRun(region, first, n) || !f.Warm.AddRun(region, first, n) {
			return fmt.Errorf("%d pages from %d on of ram block %s are to be dropped, out of turn", n, first, d.Block)
		}
		for i := range n {
			f.Held.Forget(f.First[region] + dedup.Page(first+i))
		}
	}
	return nil
}

func (f *Filter) page(it *stream.Item) error {
	if !f.passes(it) {
		return nil
	}
	if !f.open {
		if err := f.W.BeginPart(); err != nil {
			return err
		}
		f.open = true
	}
	if it.Kind == stream.KindZero {
		return f.W.Zero(it.Block, it.Offset)
	}
	return f.W.Page(it.Block, it.Offset, it.Data)
}

// skipHeader reads up to the end of the ram START section and compares it to what preflight saw.
func (f *Filter) skipHeader(p *stream.Parser) error {
	at := 0
	for at < len(f.Header) {
		it, err := p.Next()
		if err != nil {
			return system.NoEOF(err)
		}
		if !bytes.HasPrefix(f.Header[at:], it.Raw) || len(it.Raw) == 0 {
			return &HeaderError{at}
		}
		at += len(it.Raw)
		if it.Kind == stream.KindCommand && it.Command == stream.CmdPing {
			if err := f.Pong(binary.BigEndian.Uint32(it.Payload)); err != nil {
				return err
			}
		}
	}
	return nil
}

// passes tells whether the target needs the record, and notes that it is going to have it.
func (f *Filter) passes(it *stream.Item) bool {
	f.Processed.Add(1)
	page := f.First[it.Block] + dedup.Page(it.Offset/model.PageSize)
	var now uint64
	if it.Kind == stream.KindPage {
		now = dedup.HashPage(f.Seed, it.Data)
	}
	if f.Held.Get(page) == now && !f.Blind && (now != 0 || f.Zero[it.Block]) {
		return false
	}
	if f.Later != nil {
		f.Held.Forget(page)
		f.Later.Add(pageset.Page{Region: it.Block, Page: uint32(it.Offset / model.PageSize)})
		f.Absent.Add(pageset.Page{Region: it.Block, Page: uint32(it.Offset / model.PageSize)})
		return false
	}
	f.Held.Set(page, now)
	if f.Absent != nil {
		f.Absent.Remove(pageset.Page{Region: it.Block, Page: uint32(it.Offset / model.PageSize)})
	}
	f.Resent.Add(1)
	f.Sent.Add(int64(len(it.Data)))
	return true
}
