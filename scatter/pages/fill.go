package pages

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/block"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pageset"
	"github.com/scatter-vm/scatter/scatter/system"
)

// filled is what a QEMU lacks that takes over before it has all pages (post-copy). From there on each of them goes through its socket, exactly once:
// one that comes again would end the VM, and one that is written past it would not wake a processor that waits for it.
type filled struct {
	lacks  *pageset.Set // what it has not got yet; nil: it is not in post-copy
	lacked *pageset.Set // what it has not got at first
	asked  *pageset.Set // what its guest waits for
	waits  Waits
	past   *qemu.Userfault // pages are put in place past QEMU
	bulk   bool            // blocks bring what it lacks: none was made before it took over
}

// errAllThere: a page or a question out of turn.
var errAllThere = errors.New("it has all of its pages")

// emptySet is a set of the pages of blocks, with none of them.
func emptySet(blocks []system.RAMBlock) *pageset.Set {
	return pageset.New(system.PagesOf(blocks)...)
}

// Lack says that QEMU is going to take over without n pages of a block, from first on.
func (r *RAM) Lack(block int, first, n uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lacks == nil {
		r.lacks = emptySet(r.Blocks)
	}
	if !r.lacks.AddRun(block, first, n) {
		return fmt.Errorf("%d pages from %d on of ram block %d: outside of the guest", n, first, block)
	}
	return nil
}

// mostRanges is how many QEMU sends in one command itself (migration/postcopy-ram.c, MAX_DISCARDS_PER_COMMAND).
const mostRanges = 12

// Drop has QEMU drop what it is said to lack, so that it does lack it. It answers ping when it has. bulk: blocks may bring that.
func (r *RAM) Drop(ping uint32, bulk bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lacks == nil {
		r.lacks = emptySet(r.Blocks)
	}
	r.lacked, r.asked, r.bulk = r.lacks.Clone(), emptySet(r.Blocks), bulk
	d := stream.Discard{}
	send := func() error {
		if len(d.Ranges) == 0 {
			return nil
		}
		err := r.w.Command(stream.CmdPostcopyRAMDiscard, d.Append(nil))
		d.Ranges = d.Ranges[:0]
		return err
	}
	for run := range r.lacks.Runs() {
		if name := r.Blocks[run.Region].Name; name != d.Block || len(d.Ranges) == mostRanges {
			if err := send(); err != nil {
				return err
			}
			d.Block = name
		}
		d.Ranges = append(d.Ranges, stream.Range{Start: uint64(run.First) * model.PageSize, Length: uint64(run.N) * model.PageSize})
	}
	if err := send(); err != nil {
		return err
	}
	return writePing(r.w, ping)
}

// Ping has QEMU answer when it has read all that was written before.
func (r *RAM) Ping(value uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return writePing(r.w, value)
}

func writePing(w *stream.Writer, value uint32) error {
	return errors.Join(w.Command(stream.CmdPing, binary.BigEndian.AppendUint32(nil, value)), w.Flush())
}

// Listed is its blocks as a stream lists them.
func (r *RAM) Listed() []stream.RAMBlock {
	all := make([]stream.RAMBlock, len(r.Blocks))
	for i, b := range r.Blocks {
		all[i] = stream.RAMBlock{Name: b.Name, Length: b.Length, PageSize: model.PageSize}
	}
	return all
}

// Recorded is what somebody else has to know to go on with it: nil where its memory cannot be reached.
func (r *RAM) Recorded() *handover.RecordRAM {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mem == nil || r.w == nil {
		return nil
	}
	rec := new(handover.RecordRAM)
	rec.Section, rec.Footers, _ = r.w.Section()
	for _, b := range r.Blocks {
		rec.Blocks = append(rec.Blocks, handover.RecordBlock{ID: b.Name, Length: b.Length, Host: r.mem.Host(b.Index)})
	}
	return rec
}

// Rescue goes on with a QEMU whose way to its pages is lost: from here on Fill puts them in place past it. It tells how many are lacked. After
// qemu.ErrNoUserfault QEMU waits for none.
func (r *RAM) Rescue() (lacks int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.past != nil {
		return r.lacks.Len(), nil
	}
	if r.mem == nil {
		return 0, errOutOfReach
	}
	past, err := r.mem.Userfault()
	if err != nil {
		return 0, err
	}
	has := emptySet(r.Blocks)
	for i, b := range r.Blocks {
		if err := r.mem.Present(b.Index, func(first, n uint32) error {
			has.AddRun(i, first, min(n, b.Pages()-first))
			return nil
		}); err != nil {
			past.Close()
			return 0, fmt.Errorf("ram block %s: %w", b.Name, err)
		}
	}
	r.past, r.bulk = past, false
	r.lacks = has.Complement()
	r.lacked, r.asked = r.lacks.Clone(), emptySet(r.Blocks)
	return r.lacks.Len(), nil
}

// Rescued tells whether pages are put in place past QEMU.
func (r *RAM) Rescued() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.past != nil
}

// Fill gives QEMU those of the pages that it lacks (control.Pages), and tells how many are left. After the last one its stream ends.
func (r *RAM) Fill(body []byte) (left int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lacked == nil {
		return 0, errAllThere
	}
	err = r.give(func(give giveFunc) error {
		return control.EachPage(body, func(region int, page uint32, data []byte) error {
			return give(pageset.Page{Region: region, Page: page}, data)
		})
	})
	return r.lacks.Len(), err
}

// giveFunc gives QEMU a page, if it lacks it; all of it is zero where data is nil.
type giveFunc func(p pageset.Page, data []byte) error

// give gives QEMU pages in a section of their own, and ends its stream behind the last one that it lacks. The lock is held.
func (r *RAM) give(each func(giveFunc) error) error {
	had, open := r.lacks.Len(), false
	err := each(func(p pageset.Page, data []byte) error {
		if !r.lacks.Remove(p) {
			return nil
		}
		if r.asked.Remove(p) {
			r.waits.End(p)
		}
		if r.past != nil {
			return r.past.Place(r.Blocks[p.Region].Index, p.Page, data)
		}
		if !open {
			if err := r.w.BeginPart(); err != nil {
				return err
			}
			open = true
		}
		if data == nil {
			return r.w.Zero(p.Region, uint64(p.Page)*model.PageSize)
		}
		return r.w.Page(p.Region, uint64(p.Page)*model.PageSize, data)
	})
	if err == nil && open {
		err = r.w.EndPart()
	}
	if r.past != nil {
		return err
	}
	if err == nil && had > 0 && r.lacks.Len() == 0 {
		err = r.w.Finish()
	}
	return errors.Join(err, r.w.Flush())
}

// placeLacking is Place for a QEMU that has taken over: it gets what it lacks. The lock is held.
func (r *RAM) placeLacking(p *Pages, b block.Block) error {
	if err := r.in.SetWriteDeadline(time.Now().Add(socketPatience)); err != nil {
		return err
	}
	defer r.in.SetWriteDeadline(time.Time{})
	return r.give(func(give giveFunc) error {
		for i, o := range p.Owners {
			if err := give(pageset.Page{Region: int(o.Block), Page: o.Page}, b.Contents[p.From[i]].Data); err != nil {
				return err
			}
		}
		return nil
	})
}

// Finish ends the stream of a QEMU that lacks nothing.
func (r *RAM) Finish() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.w.Finish(), r.w.Flush())
}

// Want takes a request of QEMU for bytes of a block. It returns the pages among them that it does not have, as control.Wants has them. A page that it
// was not said to lack is lacked all the same: whoever asks for it does not have it.
func (r *RAM) Want(block string, start uint64, length uint32) (wants []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lacked == nil {
		return nil
	}
	for i, b := range r.Blocks {
		if b.Name != block {
			continue
		}
		for at := start; at < start+uint64(length) && at < b.Length; at += model.PageSize {
			p := pageset.Page{Region: i, Page: uint32(at / model.PageSize)}
			if r.lacked.Add(p) {
				r.lacks.Add(p)
			}
			if r.lacks.Has(p) {
				r.asked.Add(p)
				r.waits.Begin(p)
				wants = control.AppendWant(wants, p.Region, p.Page)
			}
		}
	}
	return wants
}

// Lacking is what is lacked still, as messages for whoever is to send it, and what the guest waits for.
func (r *RAM) Lacking() (lacks []control.Lacks, asked control.Wants) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lacks == nil {
		return nil, asked
	}
	for p := range r.asked.All() {
		asked.Body = control.AppendWant(asked.Body, p.Region, p.Page)
	}
	return LacksOf(r.lacks, 0), asked
}

// LacksOf is a set as messages, whose regions are numbered from first on.
func LacksOf(s *pageset.Set, first int) (lacks []control.Lacks) {
	region, runs := -1, 0
	for run := range s.Runs() {
		if run.Region != region || runs == control.MaxRuns {
			lacks = append(lacks, control.Lacks{Body: control.AppendLacks(nil, first+run.Region)})
			region, runs = run.Region, 0
		}
		m := &lacks[len(lacks)-1]
		m.Body = control.AppendRun(m.Body, run.First, run.N)
		runs++
	}
	return lacks
}
