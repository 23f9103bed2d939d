package target

import (
	"net"
	"sync"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/disk"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/system"
)

// grip is what a target holds of a VM's QEMU. What it gets after it has let go, it lets go of at once.
type grip struct {
	mu     sync.Mutex // guards the fields below, and is held over nothing that waits
	loose  bool
	proc   *system.Process // stays after it has let go, to be waited for
	vm     hypervisor.Target
	ram    *pages.RAM    // nil before its QEMU has told it
	disks  *disk.Store   // that were made for it; nil: none
	lazy   *disk.Lazy    // these, where they may come after it runs; nil: they may not
	in     net.Conn      // QEMU's incoming socket
	stream *control.Conn // from the source, once it streams
}

// take adds to what is held. It tells whether it is held: if not, whoever calls it has it let go of once more.
func (h *grip) take(add func(*grip)) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	add(h)
	return !h.loose
}

// held is what is held now; parts of it are nil before there are any.
func (h *grip) held() (vm hypervisor.Target, ram *pages.RAM, in net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.vm, h.ram, h.in
}

// stored are the disks that were made for it; nil: none.
func (h *grip) stored() *disk.Store {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.disks
}

// lazily are these, where they may come after it runs; nil: they may not.
func (h *grip) lazily() *disk.Lazy {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lazy
}

// process is that of its QEMU; nil before there is one.
func (h *grip) process() *system.Process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.proc
}

// feeder is the connection that it gets its pages by; nil: it has none.
func (h *grip) feeder() *control.Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stream
}

// feedBy gives it another connection to get its pages by, and returns the one before.
func (h *grip) feedBy(c *control.Conn) (before *control.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before, h.stream = h.stream, c
	return before
}

// lose notes that the way into QEMU is gone.
func (h *grip) lose(in net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.in == in && !h.loose {
		in.Close()
		h.in = nil
	}
}

// release is letGo, but for the connection by which the source is told.
func (h *grip) release() {
	h.feedBy(nil)
	h.letGo()
}

// letGo closes everything but the process, which goes on.
func (h *grip) letGo() {
	h.mu.Lock()
	h.loose = true
	stream, in, ram, vm, disks, lazy := h.stream, h.in, h.ram, h.vm, h.disks, h.lazy
	h.mu.Unlock()
	if stream != nil {
		stream.Close()
	}
	if in != nil {
		in.Close() // first, so that none waits for QEMU in ram
	}
	if ram != nil {
		ram.Close()
	}
	lazy.Close()
	disks.Close()
	if vm != nil {
		vm.Close()
	}
}
