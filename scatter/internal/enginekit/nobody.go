package enginekit

import (
	"github.com/scatter-vm/scatter/scatter/hypervisor"
)

// Nobody has a VM of which only its name and its place are of interest: nothing was changed on it, and nothing can be asked.
type Nobody struct{ hypervisor.Source }

// Settings are none.
func (Nobody) Settings() hypervisor.Settings { return hypervisor.Settings{} }

// Unsettled is false.
func (Nobody) Unsettled() bool { return false }

// Close does nothing.
func (Nobody) Close() error { return nil }
