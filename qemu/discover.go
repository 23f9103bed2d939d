package qemu

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/scatter-vm/scatter/qemu/monitor"
	"github.com/scatter-vm/scatter/qemu/process"
	"github.com/scatter-vm/scatter/qemu/ram"
	"github.com/scatter-vm/scatter/qemu/vmname"
)

// maxVCPUs bounds the virtual processors of one VM.
const maxVCPUs = 1 << 16

// VM is a virtual machine of this host as it was found.
type VM struct {
	Name        string // by which it is known here: see Alias
	Own         string // name that QEMU was given, "" if there was none
	Socket      string // QMP socket
	PID         int
	StartTime   uint64 // of the process, clock ticks since boot: tells a reused PID apart
	Argv        []string
	Version     [3]int
	Machine     string // machine type with its version, such as pc-q35-10.0
	VCPUs       int
	MemoryBytes uint64 // RAM that the guest has, including memory modules that were plugged in
	Blocks      []ram.Block
	Status      string          // run state
	Caps        map[string]bool // migration capabilities that this QEMU knows, and whether they are on
	Blockers    []string        // why QEMU would refuse to migrate
}

// Discover finds out which VM stands behind a QMP socket. It returns a Client that the caller closes.
//
// Argv says what the VM was when it began. What it is by now, package inventory finds out.
func Discover(ctx context.Context, socket string) (*VM, *Client, error) {
	c, err := Dial(ctx, socket)
	if err != nil {
		return nil, nil, err
	}
	vm, err := c.Describe(ctx)
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return vm, c, nil
}

// Describe is Discover over an open connection: a monitor serves one client at a time.
func (c *Client) Describe(ctx context.Context) (*VM, error) {
	ctx, cancel := bounded(ctx, monitor.DialTimeout)
	defer cancel()
	vm := &VM{Socket: c.Socket(), PID: c.PID(), Version: c.Version()}
	if err := vm.discover(ctx, c); err != nil {
		return nil, fmt.Errorf("qmp socket %s: %w", c.Socket(), err)
	}
	return vm, nil
}

func (vm *VM) discover(ctx context.Context, c *Client) error {
	steps := []func(context.Context, *Client) error{
		vm.readProcess, vm.readName, vm.readMachine, vm.readVCPUs, vm.readMemory, vm.readBlocks, vm.readMigration, vm.readStatus,
	}
	for _, step := range steps {
		if err := step(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (vm *VM) readProcess(context.Context, *Client) (err error) {
	if vm.PID <= 0 {
		return fmt.Errorf("its process is in another pid namespace")
	}
	if vm.StartTime, err = process.StartTime(vm.PID); err != nil {
		return fmt.Errorf("process %d: %w", vm.PID, err)
	}
	if vm.Argv, err = process.CommandLine(vm.PID); err != nil {
		return fmt.Errorf("process %d: %w", vm.PID, err)
	}
	return nil
}

func (vm *VM) readName(ctx context.Context, c *Client) error {
	var reply struct {
		Name string `json:"name"`
	}
	if err := c.Do(ctx, "query-name", nil, &reply); err != nil {
		return err
	}
	vm.Own, vm.Name = reply.Name, vmname.Alias(cmp.Or(reply.Name, vmname.OfSocket(vm.Socket)))
	return nil
}

func (vm *VM) readMachine(ctx context.Context, c *Client) error {
	var machine string
	err := c.Do(ctx, "qom-get", map[string]string{"path": "/machine", "property": "type"}, &machine)
	vm.Machine = strings.TrimSuffix(machine, "-machine")
	return err
}

func (vm *VM) readVCPUs(ctx context.Context, c *Client) error {
	var cpus []struct {
		Thread int `json:"thread-id"`
	}
	if err := c.Do(ctx, "query-cpus-fast", nil, &cpus); err != nil {
		return err
	}
	if len(cpus) > maxVCPUs {
		return fmt.Errorf("%d virtual processors: more than %d", len(cpus), maxVCPUs)
	}
	vm.VCPUs = len(cpus)
	if len(cpus) == 0 || process.OwnsThread(vm.PID, cpus[0].Thread) {
		return nil
	}
	return fmt.Errorf("process %d listens on the socket but is not the qemu that answers (vcpu thread %d is not its own)",
		vm.PID, cpus[0].Thread)
}

func (vm *VM) readMemory(ctx context.Context, c *Client) error {
	var size struct {
		Base    uint64 `json:"base-memory"`
		Plugged uint64 `json:"plugged-memory"`
	}
	err := c.Do(ctx, "query-memory-size-summary", nil, &size)
	vm.MemoryBytes = size.Base + size.Plugged
	return err
}

func (vm *VM) readBlocks(ctx context.Context, c *Client) (err error) {
	vm.Blocks, err = c.RAMBlocks(ctx)
	return err
}

func (vm *VM) readMigration(ctx context.Context, c *Client) (err error) {
	if vm.Caps, err = c.Capabilities(ctx); err != nil {
		return err
	}
	info, err := c.QueryMigrate(ctx)
	vm.Blockers = info.BlockedReasons
	return err
}

func (vm *VM) readStatus(ctx context.Context, c *Client) error {
	state, err := c.Status(ctx)
	vm.Status = state.Status
	return err
}

// String names the VM with its process, for logs.
func (vm *VM) String() string { return vm.Name + " (process " + strconv.Itoa(vm.PID) + ")" }

// TellApart gives a VM without a name of its own one that no other VM of this host has: its sockets' names are alike, and their directories
// differ.
func (vm *VM) TellApart() {
	if vm.Own == "" {
		vm.Name = vmname.Numbered(vmname.OfSocket(vm.Socket), vm.Socket)
	}
}
