package fill

import "sync"

// Exposure lets one VM at a time live on two hosts: whichever of both fails then takes the VM with it.
type Exposure struct {
	mu sync.Mutex
	vm int // and one; 0 = none
}

// Begin tells whether a VM may be exposed, which it is then until it ends.
func (x *Exposure) Begin(vm int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.vm == 0 {
		x.vm = vm + 1
	}
	return x.vm == vm+1
}

// End says that a VM is exposed no more, or was not.
func (x *Exposure) End(vm int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.vm == vm+1 {
		x.vm = 0
	}
}
