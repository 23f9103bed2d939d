package fill

import (
	"context"
	"errors"
	"fmt"
	"runtime"
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
	Blocks []system.RAMBlock // by region, as the VM's stream lists them, and its disks behind
	Disks  int               // how many of these are disks
	Rate   func() int64      // of the way to its target, bytes/s
	Pace   Pace
	Pack   Packer // nil: nothing is compressed

	Prefetch model.Prefetch // beside what the guest asks for; "" = around that

	// Others that send the VM pages meanwhile: Claim tells whether they do not send a page, and are not going to any more; Forward has them bring
	// pages forward that they send to several VMs. nil: there are none.
	Claim   func(pageset.Page) bool
	Forward func([]pageset.Page)

	faults, sent atomic.Int64
	waits        atomic.Pointer[control.Filled] // what the target has said of them

	mu    sync.Mutex // guards the fields below
	order *Order
	news  chan struct{} // holds a token when the guest waits for something new
}

// Pace is how bytes leave.
type Pace interface {
	// Wait returns when so many may; Charge takes so many that leave at once, for which all others wait longer.
	Wait(ctx context.Context, bytes int) error
	Charge(bytes int)
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
	f.order, f.news = NewOrder(lacks, warm, len(f.Blocks)-f.Disks, f.Prefetch, f.Claim), make(chan struct{}, 1)
}

// Hold has only those pages sent that the guest asks for, and what is around them but for shared pages, until Sweep: bulk brings the others.
func (f *Filler) Hold(shared *pageset.Set) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.order.Hold(shared, f.Forward != nil)
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

// Waits is how long the guest has waited for pages, as its target has told; zero if it has not.
func (f *Filler) Waits() (w control.Filled) {
	if told := f.waits.Load(); told != nil {
		w = *told
	}
	return w
}

// A piece is what is sent between two looks at what the guest asks for: a quarter of a millisecond of the link, or as little as a page takes by itself.
const (
	pieceTime  = 4000 // a part of a second
	leastPiece = 2 * model.PageSize
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

// read takes what the target says, and answers what the guest waits for at once, past what else is sent: a timer would be as long as all of the way.
func (f *Filler) read(c *control.Conn) error {
	p := piece{f: f}
	for {
		m, err := c.Receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case control.Wants:
			body, err := p.wanted(m)
			if err != nil {
				return err
			}
			if err := f.answer(c, body); err != nil {
				return err
			}
		case control.Filled:
			f.waits.Store(&m)
			return errFilled
		default:
			return fmt.Errorf("unexpected %s", m.Type())
		}
	}
}

// answer sends pages that the guest waits for.
func (f *Filler) answer(c *control.Conn, body []byte) error {
	f.mu.Lock()
	f.wake() // what is near them comes next
	ahead := f.order.Ahead()
	f.mu.Unlock()
	if len(ahead) > 0 {
		f.Forward(ahead)
	}
	if len(body) == 0 {
		return nil
	}
	f.Pace.Charge(len(body))
	f.sent.Add(int64(len(body)))
	return c.Send(control.Pages{Body: body})
}

// silence bounds the wait for the target's word once it has been sent all.
const silence = 90 * time.Second

// send sends pieces as long as there are any. It has a thread of its own, see multicast.Pacer.WaitNapping.
func (f *Filler) send(ctx context.Context, c *control.Conn) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
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
			if err := f.awaitNews(ctx); err != nil {
				return err
			}
			continue
		}
		var m control.Message = control.Pages{Body: body}
		size := len(body)
		if f.Pack != nil {
			if packed, ok := f.Pack.Try(body); ok {
				m, size = control.PackedPages{Body: packed}, len(packed)
			}
		}
		if err := f.Pace.Wait(ctx, size); err != nil {
			return err
		}
		if err := c.Send(m); err != nil {
			return err
		}
		f.sent.Add(int64(size))
	}
}

// awaitNews returns when there may be something to send.
func (f *Filler) awaitNews(ctx context.Context) error {
	f.mu.Lock()
	due := f.order.Due()
	f.mu.Unlock()
	var late <-chan time.Time
	if !due.IsZero() {
		t := time.NewTimer(time.Until(due))
		defer t.Stop()
		late = t.C
	}
	select {
	case <-f.news:
	case <-late:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
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
		n, err := p.add()
		if err != nil {
			return nil, err
		}
		zeros += n
	}
	return p.body, nil
}

// wanted is those of the pages that the guest waits for which were not sent yet, valid until it is called again.
func (p *piece) wanted(m control.Wants) ([]byte, error) {
	p.body, p.pages = p.body[:0], p.pages[:0]
	p.f.mu.Lock()
	for region, page := range m.Each() {
		p.f.faults.Add(1)
		if q := (pageset.Page{Region: region, Page: page}); len(p.pages) < mostWanted && p.f.order.Want(q) {
			p.pages = append(p.pages, q)
		}
	}
	p.f.mu.Unlock()
	_, err := p.add()
	return p.body, err
}

// mostWanted bounds what is answered at one time: as many processors as a guest has wait for a page each. What is beyond comes in its turn.
const mostWanted = 200

// add adds its pages to its body, and tells how many of them are all zero.
func (p *piece) add() (zeros int, err error) {
	if err := p.read(); err != nil {
		return 0, err
	}
	for i, q := range p.pages {
		data := p.data[i*model.PageSize:][:model.PageSize]
		if dedup.IsZero(data) {
			data = nil
			zeros++
		}
		p.body = control.AppendPage(p.body, q.Region, q.Page, data)
	}
	return zeros, nil
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
