package ledger

import (
	"slices"
	"sync"
)

// Accounts keep what is still open of each VM, and say once, by done, that nothing is: its last block was sent, and all of them are confirmed or
// settled otherwise. A block is expected before it is sent, so an account is never taken for closed while a block of it is about to be.
type Accounts struct {
	done func(vm int) // called without the lock, once for each VM

	mu  sync.Mutex // guards the fields below
	vms []account
}

// account is one VM's.
type account struct {
	open  int   // blocks that are not confirmed, and those in a backlog
	pages int64 // confirmed
	sent  bool  // its last block was sent
	done  bool  // that nothing is open was said
}

func newAccounts(vms int, done func(vm int)) *Accounts {
	return &Accounts{done: done, vms: make([]account, vms)}
}

// AllSent says that no more blocks of vm follow.
func (a *Accounts) AllSent(vm int) {
	a.mu.Lock()
	a.vms[vm].sent = true
	a.mu.Unlock()
	a.tell([]int{vm})
}

// GiveUp says that nothing of vm needs to be confirmed any more.
func (a *Accounts) GiveUp(vm int) {
	a.mu.Lock()
	v := &a.vms[vm]
	v.sent, v.open = true, 0
	now := !v.done // at once: a block of it may be expected meanwhile
	v.done = true
	a.mu.Unlock()
	if now {
		a.done(vm)
	}
}

// Expect opens the VMs' accounts for a block.
func (a *Accounts) Expect(vms []int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, vm := range vms {
		a.vms[vm].open++
	}
}

// Settle takes back what Expect has counted, once for each time that a VM is named.
func (a *Accounts) Settle(vms []int) {
	a.mu.Lock()
	for _, vm := range vms {
		a.vms[vm].open--
	}
	a.mu.Unlock()
	a.tell(vms)
}

// confirm counts the pages of a confirmed block and closes it. Who calls it has tell called, too, once no lock is held.
func (a *Accounts) confirm(c *Cargo) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, vm := range c.vms {
		a.vms[vm].open--
		a.vms[vm].pages += c.pages[i]
	}
}

// tell says of which of the VMs nothing is open any more.
func (a *Accounts) tell(vms []int) {
	for _, vm := range vms {
		a.mu.Lock()
		v := &a.vms[vm]
		now := v.sent && v.open == 0 && !v.done
		v.done = v.done || now
		a.mu.Unlock()
		if now {
			a.done(vm)
		}
	}
}

// wait tells whether any of the VMs still waits for blocks.
func (a *Accounts) wait(vms []int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(vms, func(vm int) bool { return !a.vms[vm].done })
}

// pages are each VM's confirmed pages.
func (a *Accounts) pages() []int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	pages := make([]int64, len(a.vms))
	for i, v := range a.vms {
		pages[i] = v.pages
	}
	return pages
}
