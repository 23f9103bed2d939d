package fill

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/pageset"
	"github.com/scatter-vm/scatter/scatter/system"
)

// Filler sends one VM what it lacks, out of the memory of its source, which does not change any more.
type Filler struct {
	Mem    pages.Contents
	Blocks []system.RAMBlock // by region, as the VM's stream lists them
	Rate   func() int64      // of the way to its target, bytes/s
	Pace   func(ctx context.Context, bytes int) error
	Pack   Packer // nil: nothing is compressed

	faults, sent atomic.Int64

	mu    sync.Mutex // guards the fields below
	order *Order
	news  chan struct{} // holds a token when the guest waits for something new
}

// Packer compresses what gains.
type Packer interface {
	// Try returns b compressed, valid until the next call; ok tells whether that gains.
	Try(b []byte) (packed []byte, ok bool)
}

// Begin says what the VM lacks. The set is the filler's own from then on. warm are pages that were written last; nil: not known.
func (f *Filler) Begin(lacks, warm *pageset.Set) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.order, f.news = NewOrder(lacks, warm), make(chan struct{}, 1)
}

// Hold has only those pages sent that the guest asks for, and what is around them, until Sweep: bulk brings the others.
func (f *Filler) Hold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.order.Hold()
}

// Sweep has all pages sent but those of which sent says that they are there.
func (f *Filler) Sweep(sent func(pageset.Page) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.order == nil {
		return
	}
	f.order.Sweep(sent)
	f.wake()
}

// wake has send look again; the mutex is held.
func (f *Filler) wake() {
	select {
	case f.news <- struct{}{}:
	default:
	}
}

// Faults is how many pages the guest has asked for, Sent how many bytes of pages were sent.
func (f *Filler) Faults() int64 { return f.faults.Load() }
func (f *Filler) Sent() int64   { return f.sent.Load() }

// A piece is what is sent between two looks at what the guest asks for: half a millisecond of the link, or as little as a page takes by itself.
const (
	pieceTime  = 2000 // a part of a second
	leastPiece = 4 * model.PageSize
	mostPiece  = 32 * model.PageSize
	mostZeros  = 256 // pages without bytes in a piece
)

// errFilled ends a filler in order.
var errFilled = errors.New("the VM has all of its pages")

// Run sends over a connection until the target says that it has all pages, or the connection breaks, which it closes.
func (f *Filler) Run(ctx context.Context, c *control.Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	reading.Go(func() { cancel(f.read(c)) })
	err := f.send(ctx, c)
	if ctx.Err() == nil { // let the target's last words come
		_ = c.SetReadDeadline(time.Now().Add(system.LastWords))
		<-ctx.Done()
	}
	if cause := context.Cause(ctx); errors.Is(cause, errFilled) {
		return nil
	} else if err == nil || ctx.Err() != nil {
		err = cause
	}
	return err
}

// read takes what the target says.
func (f *Filler) read(c *control.Conn) error {
	for {
		m, err := c.Receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case control.Wants:
			f.want(m)
		case control.Filled:
			return errFilled
		default:
			return fmt.Errorf("unexpected %s", m.Type())
		}
	}
}

func (f *Filler) want(m control.Wants) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for region, page := range m.Each() {
		f.order.Want(pageset.Page{Region: region, Page: page})
		f.faults.Add(1)
	}
	f.wake()
}

// silence bounds the wait for the target's word once it has been sent all.
const silence = 90 * time.Second

// send sends pieces as long as there are any.
func (f *Filler) send(ctx context.Context, c *control.Conn) error {
	p := piece{f: f}
	for {
		body, err := p.next()
		if err != nil {
			return err
		}
		if len(body) == 0 {
			if err := c.SetReadDeadline(f.patience()); err != nil {
				return err
			}
			select {
			case <-f.news:
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		var m control.Message = control.Pages{Body: body}
		size := len(body)
		if f.Pack != nil {
			if packed, ok := f.Pack.Try(body); ok {
				m, size = control.PackedPages{Body: packed}, len(packed)
			}
		}
		if err := f.Pace(ctx, size); err != nil {
			return err
		}
		if err := c.Send(m); err != nil {
			return err
		}
		f.sent.Add(int64(size))
	}
}

// patience is until when the target may say nothing, if no more is sent; the zero time: as long as others send.
func (f *Filler) patience() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.order.held {
		return time.Time{}
	}
	return time.Now().Add(silence)
}

// piece makes the bodies of messages.
type piece struct {
	f     *Filler
	pages []pageset.Page
	refs  []qemu.PageRef
	to    []uint32
	data  []byte
	body  []byte
}

// next is the next piece, valid until it is called again; empty if nothing is left.
func (p *piece) next() ([]byte, error) {
	size := int(min(mostPiece, max(leastPiece, p.f.Rate()/pieceTime)))
	p.body = p.body[:0]
	for zeros := 0; len(p.body) < size && zeros < mostZeros; {
		p.f.mu.Lock()
		p.pages = p.f.order.Next(p.pages[:0], max(1, (size-len(p.body))/model.PageSize))
		p.f.mu.Unlock()
		if len(p.pages) == 0 {
			break
		}
		if err := p.read(); err != nil {
			return nil, err
		}
		for i, q := range p.pages {
			data := p.data[i*model.PageSize:][:model.PageSize]
			if dedup.IsZero(data) {
				data = nil
				zeros++
			}
			p.body = control.AppendPage(p.body, q.Region, q.Page, data)
		}
	}
	return p.body, nil
}

// read reads its pages out of the source.
func (p *piece) read() error {
	p.refs, p.to = p.refs[:0], p.to[:0]
	for i, q := range p.pages {
		p.refs = append(p.refs, qemu.PageRef{Block: uint16(p.f.Blocks[q.Region].Index), Page: q.Page})
		p.to = append(p.to, uint32(i))
	}
	if need := len(p.pages) * model.PageSize; len(p.data) < need {
		p.data = make([]byte, need)
	}
	return p.f.Mem.GatherTo(p.refs, p.to, p.data[:len(p.pages)*model.PageSize])
}
