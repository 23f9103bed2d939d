package policy

import (
	"path/filepath"

	"github.com/scatter-vm/scatter/qemu/cmdline"
	"github.com/scatter-vm/scatter/qemu/rehearsal"
)

// Rehearsal is Command for a QEMU that is ended as soon as it has shown that it starts and accepts the head of a migration
// stream. It takes nothing that a VM of this host has, or is going to have: it listens at sockets of its own in runDir
// only, connects to no back end, has no network interface by name, runs no script, truncates no file and touches no memory in
// advance. Disks are opened, and not locked: that comes with the end of a migration. The error is a *Error, a *vmname.Error, or an
// *rehearsal.UntriedError. What the VM itself is going to take is in claims.
func (p Policy) Rehearsal(argv []string, name, runDir string) (c *Command, claims *rehearsal.Claims, err error) {
	full, err := p.Command(argv, name, runDir)
	if err != nil {
		return nil, nil, err
	}
	var items []cmdline.Argument
	for rest := full.Argv[1:]; len(rest) > 0; {
		var it cmdline.Argument
		if it, rest, err = nextItem(rest); err != nil {
			return nil, nil, err
		}
		items = append(items, it)
	}
	args, claims, err := rehearsal.Of(items, filepath.Join(runDir, name))
	if err != nil {
		return nil, nil, err
	}
	return &Command{name, runDir, append(full.Argv[:1:1], args...), full.Memory, full.Confinement}, claims, nil
}
