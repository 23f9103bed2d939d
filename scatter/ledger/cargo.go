package ledger

import (
	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/scatter/block"
)

// BatchOwners is how many pages one batch reads at most.
const BatchOwners = 1024

// OutBlock is an encoded block and what it carries.
type OutBlock struct {
	Payload []byte
	Cargo   Cargo
}

// Cargo is what a block carries: distinct bytes, their owners, and pages by VM.
type Cargo struct {
	Bytes  int64
	Owners []dedup.Page
	Ends   []uint16 // of each content's owners
	vms    []int
	pages  []int64 // of vms[i]
}

// Add notes a content by its owners.
func (c *Cargo) Add(pages []dedup.Page, owners []block.Owner) {
	for _, o := range owners {
		c.count(int(o.VM))
	}
	c.Owners = append(c.Owners, pages...)
	c.Ends = append(c.Ends, uint16(len(c.Owners)))
}

// Reset empties it, to be used again.
func (c *Cargo) Reset() {
	*c = Cargo{Owners: c.Owners[:0], Ends: c.Ends[:0], vms: c.vms[:0], pages: c.pages[:0]}
}

// Clone is a copy that takes no more memory than it must: it is kept for as long as its block is in flight, or in a backlog.
func (c *Cargo) Clone() Cargo {
	return Cargo{Bytes: c.Bytes, Owners: exactly(c.Owners), Ends: exactly(c.Ends), vms: exactly(c.vms), pages: exactly(c.pages)}
}

func exactly[T any](s []T) []T { return append(make([]T, 0, len(s)), s...) }

func (c *Cargo) count(vm int) {
	for i := len(c.vms) - 1; i >= 0; i-- {
		if c.vms[i] == vm {
			c.pages[i]++
			return
		}
	}
	c.vms, c.pages = append(c.vms, vm), append(c.pages, 1)
}

// routes tell which host a page goes to.
type routes struct {
	host   []int // by VM
	layout *dedup.Layout
}

func (r routes) of(p dedup.Page) int { return r.host[r.layout.VM(p)] }

// split takes a host's part out of the cargo: the pages that go there, by contents, and the VMs that wait for them. The distinct bytes stay
// counted with the cargo, which keeps the pages of all.
func (c *Cargo) split(host int, r routes) (p Part) {
	if n := c.ownedBy(host, r); n > 0 { // of exactly the memory that it needs: there may be as many as pages
		p.Owners, p.Ends = make([]dedup.Page, 0, n), make([]uint16, 0, min(n, len(c.Ends)))
	}
	start := uint16(0)
	for _, end := range c.Ends {
		before := len(p.Owners)
		for _, o := range c.Owners[start:end] {
			if r.of(o) == host {
				p.Owners = append(p.Owners, o)
			}
		}
		if len(p.Owners) > before {
			p.Ends = append(p.Ends, uint16(len(p.Owners)))
		}
		start = end
	}
	rest := Cargo{Bytes: c.Bytes, Owners: c.Owners, Ends: c.Ends}
	for i, vm := range c.vms {
		if r.host[vm] == host {
			p.vms = append(p.vms, vm)
		} else {
			rest.vms, rest.pages = append(rest.vms, vm), append(rest.pages, c.pages[i])
		}
	}
	*c = rest
	return p
}

// ownedBy counts the owners of the contents that a host has.
func (c *Cargo) ownedBy(host int, r routes) (n int) {
	for _, o := range c.Owners {
		if r.of(o) == host {
			n++
		}
	}
	return n
}
