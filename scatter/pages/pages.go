// Package pages is where the pages that move come from, and where they go: the two interfaces behind which there is a guest's RAM today, and
// what takes blocks apart for those who get their pages.
package pages

import (
	"sync"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/block"
)

// Contents is what pages are read from, while somebody else may write to them: regions, such as the RAM blocks of a VM, of pages of
// [model.PageSize] bytes. *qemu.Memory is one. Methods may be called from any goroutine.
type Contents interface {
	// Populated yields the pages of a region that may be other than zero, in ascending runs of n from first on.
	Populated(region int, yield func(first, n uint32) error) error
	// ReadPages reads n pages of a region, from first on, into dst.
	ReadPages(region int, first uint32, n int, dst []byte) error
	// GatherTo reads single pages: refs[i] into page to[i] of dst.
	GatherTo(refs []qemu.PageRef, to []uint32, dst []byte) error
	// Close releases what it holds; nothing is read any more.
	Close() error
}

// Sink is what gets the pages of one VM out of the blocks that bulk brings. A page may come again, with other bytes: the last ones count.
type Sink interface {
	// Place puts pages in their place, or drops them where they come too late. After an error nothing is known of what is there.
	Place(p *Pages, b block.Block) error
}

// Pages are those of one block that belong to one VM: page i has the bytes of the block's content From[i].
type Pages struct {
	Owners []block.Owner
	From   []uint32
}

// Intake takes blocks apart, one at a time.
type Intake struct {
	sink   func(vm int) Sink
	failed func(vm int, err error)

	mu  sync.Mutex // guards dec: a block's contents are valid until the next one
	dec *block.Decoder
}

// NewIntake makes an intake. sink finds who gets a VM's pages; nil: another target. failed is told of a VM whose sink could not take its pages.
func NewIntake(sink func(vm int) Sink, failed func(vm int, err error)) (*Intake, error) {
	dec, err := block.NewDecoder()
	if err != nil {
		return nil, err
	}
	return &Intake{sink: sink, failed: failed, dec: dec}, nil
}

// Deliver places a block's contents. A VM that cannot take its pages fails; the block counts as placed all the same, so that the others go on. A
// *block.FormatError means that it is none.
func (i *Intake) Deliver(payload []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	b, err := i.dec.Decode(payload)
	if err != nil {
		return err
	}
	for vm, p := range byVM(b) {
		s := i.sink(vm)
		if s == nil {
			continue
		}
		if err := s.Place(p, b); err != nil {
			i.failed(vm, err)
		}
	}
	return nil
}

// byVM sorts a block's pages by the VM that owns them.
func byVM(b block.Block) map[int]*Pages {
	all := make(map[int]*Pages)
	for i, c := range b.Contents {
		for _, o := range c.Owners {
			p := all[int(o.VM)]
			if p == nil {
				p = &Pages{}
				all[int(o.VM)] = p
			}
			p.Owners = append(p.Owners, o)
			p.From = append(p.From, uint32(i))
		}
	}
	return all
}

// Close releases the decoder.
func (i *Intake) Close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.dec.Close()
}
