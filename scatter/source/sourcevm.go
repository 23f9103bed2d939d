package source

import (
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/disk"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/modes"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/system"
)

// VM is a VM on the source: what it is, who has it, its process and its memory.
type VM struct {
	hypervisor.Source

	Index   int // among those that move
	Number  int // among those that were found
	Facts   *qemu.VM
	argv    []string       // of a QEMU that is the VM as it is now, from preflight
	named   []string       // the same, for one that may run before its disks are there
	written []control.File // on its disks, from preflight
	limits  []control.Limits
	Proc    *system.Process
	Mem     pages.Contents // RAM, and the disks that travel

	Blocks  []system.RAMBlock
	perhaps []hypervisor.Disk // that travel with it unless targets share them; nil: that is settled
	Disks   []hypervisor.Disk // that travel with it
	Pieces  []disk.Pieces     // of each of these: what is scanned
	Regions int               // its first region in package dedup's numbering
	Header  []byte            // of the migration stream, from preflight
	travel  model.Disks       // what becomes of its disks
	cpu     []qemu.CPUWord    // what its first processor offers
	remarks []string          // of preflight: what does not hinder it, and should be known

	Host int // index of its target; -1 before the plan

	Policy     modes.Policy
	noPostCopy string        // why it cannot take over before its memory, though it might
	Traffic    modes.Traffic // of its guest, before the plan
	counting   counting      // of that
	Mode       model.Mode    // in which it moves, from the plan
	choice     modes.Choice  // of that

	Gone  atomic.Bool // given up: no more bulk for it
	Blind atomic.Bool // what the target holds is not known
}

// Name is what the VM is called.
func (v *VM) Name() string { return v.Facts.Name }

// hasEnded tells whether the VM's QEMU has ended, or is ending: its memory goes first.
func (v *VM) hasEnded() bool { return v.Proc != nil && v.Proc.Wait(time.Second) }

// PrepareMessage describes the VM to its target.
func (v *VM) PrepareMessage() control.Prepare {
	p := control.Prepare{VM: v.Index, Name: v.Name(), Argv: v.argv, Memory: int64(v.Facts.MemoryBytes), VCPUs: v.Facts.VCPUs,
		Machine: v.Facts.Machine, Header: v.Header, PostCopy: v.Policy.Prepares()}
	p.Limits, p.Blocks = v.limits, system.NamedBlocks(v.Blocks)
	p.Disks = newDisks(v.Disks, false)
	if len(v.Disks) > 0 && v.Policy.Prepares() {
		p.Argv = v.named
	}
	return p
}

// Close releases the VM's monitor and memory; it does not touch the VM.
func (v *VM) Close() {
	if v.Source != nil {
		v.Source.Close()
	}
	if v.Mem != nil {
		v.Mem.Close()
	}
	if v.Proc != nil {
		v.Proc.Close()
	}
}
