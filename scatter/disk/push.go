package disk

import (
	"context"
	"fmt"
	"sync"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/pageset"
)

// Pusher sends what is behind of a VM's disks. A page is taken out of what is behind before it is read: what is written to it meanwhile puts it back.
type Pusher struct {
	Behind *Behind
	From   pages.Contents // whose regions are the disks
	Held   *dedup.Held    // what the target has
	Seed   dedup.Seed
	Thin   []bool                                       // of each disk: it is not all zero where nothing was sent
	Known  []Pieces                                     // of each disk: what was scanned, and may have been sent
	Region int                                          // of the first disk, as messages have it
	Send   func(ctx context.Context, body []byte) error // sends control.Pages

	mu    sync.Mutex // held while pages are sent
	ended bool       // by Rest
	taken []pageset.Page
	data  []byte
	body  []byte
}

// batchPages is how many pages are sent at once at most: a message has room for them.
const batchPages = 128

// Sweep puts behind whatever the target has not been sent for sure: what was written before there was a mirror, what bulk has left out. blind: nothing
// that was sent counts, and zeros are sent as well.
func (p *Pusher) Sweep(blind bool) error {
	for region, known := range p.Known {
		for _, k := range known {
			if !blind {
				break
			}
			for i := range k.Pages {
				p.Held.Forget(k.At + dedup.Page(i))
			}
			p.Behind.Add(region, k.First, k.Pages)
		}
		err := p.From.Populated(region, func(first, n uint32) error {
			for i := first; i < first+n; i++ {
				if at, ok := known.Find(i); !ok || !p.Held.Sent(at) {
					p.Behind.Add(region, i, 1)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Run pushes until ctx ends, which is no error.
func (p *Pusher) Run(ctx context.Context) error {
	for {
		if err := p.Drain(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-p.Behind.News():
		case <-ctx.Done():
			return nil
		}
	}
}

// Drain pushes until nothing is behind.
func (p *Pusher) Drain(ctx context.Context) error {
	for {
		n, err := p.push(ctx)
		if n == 0 || err != nil {
			return err
		}
	}
}

// Push pushes at most n pages.
func (p *Pusher) Push(ctx context.Context, n int) error {
	for n > 0 {
		some, err := p.push(ctx)
		if some == 0 || err != nil {
			return err
		}
		n -= some
	}
	return nil
}

// Rest is what is behind, which is not pushed any more: others bring it.
func (p *Pusher) Rest() *pageset.Set {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	return p.Behind.all()
}

// push sends some pages, and tells of how many it has looked at.
func (p *Pusher) push(ctx context.Context) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	if p.ended {
		return 0, nil
	}
	p.taken = p.Behind.Take(p.taken[:0], batchPages)
	p.body = p.body[:0]
	for rest := p.taken; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Page == rest[0].Page+uint32(n) {
			n++
		}
		if err := p.read(rest[0], n); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	if len(p.body) == 0 {
		return len(p.taken), nil
	}
	return len(p.taken), p.Send(ctx, p.body)
}

// read adds those of some pages to the message that the target does not have, as far as that is known. From then on it counts as having them: what follows
// comes behind them.
func (p *Pusher) read(at pageset.Page, n int) error {
	if p.data == nil {
		p.data = make([]byte, batchPages*model.PageSize)
	}
	if err := p.From.ReadPages(at.Region, at.Page, n, p.data); err != nil {
		return fmt.Errorf("what is behind: %w", err)
	}
	for i := range n {
		page, known := p.Known[at.Region].Find(at.Page + uint32(i))
		data := p.data[i*model.PageSize : (i+1)*model.PageSize]
		now := dedup.Digest(p.Seed, data)
		if hides := now == 0 && p.Thin != nil && p.Thin[at.Region]; known && !hides && p.Held.Get(page) == now {
			continue
		}
		if known {
			p.Held.Set(page, now)
		}
		if now == 0 {
			data = nil
		}
		p.body = control.AppendPage(p.body, p.Region+at.Region, at.Page+uint32(i), data)
	}
	return nil
}
