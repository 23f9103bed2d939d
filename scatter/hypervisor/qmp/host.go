package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/inventory"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/system"
)

// Host starts QEMUs: a hypervisor.Host.
type Host struct {
	Policy   qemu.LaunchPolicy
	Launcher string // the operator's own program, which starts them; "" = we do
	RunDir   string
	Log      *slog.Logger
}

// Start starts the QEMU for a VM, by ourselves or by the launcher, with its disks' limits.
func (h *Host) Start(ctx context.Context, p control.Prepare) (*system.Process, hypervisor.Target, error) {
	start := h.startQEMU
	if h.Launcher != "" {
		start = h.startByLauncher
	}
	proc, client, err := start(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	err = h.setLimits(ctx, client, p)
	if err == nil && p.PostCopy {
		err = client.AllowPostcopy(ctx)
	}
	if err != nil {
		client.Close()
		proc.SignalKill()
		proc.Reap()
		proc.Close()
		return nil, nil, err
	}
	return proc, TargetOf(client, h.Log.With("vm", p.Name)), nil
}

func (h *Host) startQEMU(ctx context.Context, p control.Prepare) (*system.Process, *qemu.Client, error) {
	c, err := h.Policy.Command(p.Argv, p.Name, h.RunDir)
	if err != nil {
		return nil, nil, err
	}
	if c.Memory > p.Memory {
		return nil, nil, fmt.Errorf("its command line asks for %d MiB of memory, and the source has announced %d MiB", c.Memory>>20, p.Memory>>20)
	}
	q, err := qemu.Launch(ctx, c, h.Log)
	if err != nil {
		return nil, nil, err
	}
	proc, err := system.OpenProcess(q.PID, q.Socket, q.Log)
	if err != nil {
		q.Kill()
		return nil, nil, err
	}
	return proc, q.Client, nil
}

// launchRequest is what a launcher gets on its standard input.
type launchRequest struct {
	Name    string   `json:"name"`
	Machine string   `json:"machine"`
	Memory  int64    `json:"memory_bytes"`
	VCPUs   int      `json:"vcpus"`
	Argv    []string `json:"argv"` // of a QEMU that is the VM as it is now, with the source's names of files
	RunDir  string   `json:"run_dir"`
	Socket  string   `json:"qmp_socket"` // where the QMP socket is expected, unless the launcher prints another path
}

func (h *Host) startByLauncher(ctx context.Context, p control.Prepare) (*system.Process, *qemu.Client, error) {
	want := filepath.Join(h.RunDir, p.Name+".qmp")
	req, err := json.Marshal(launchRequest{p.Name, p.Machine, p.Memory, p.VCPUs, p.Argv, h.RunDir, want})
	if err != nil {
		return nil, nil, err
	}
	socket, err := qemu.LaunchExternal(ctx, h.Launcher, req)
	if err != nil {
		return nil, nil, err
	}
	client, err := qemu.Dial(ctx, socket)
	if err != nil {
		return nil, nil, err
	}
	err = client.PrepareIncoming(ctx)
	var proc *system.Process
	if err == nil {
		proc, err = system.OpenProcess(client.PID(), socket, "")
	}
	if err != nil {
		client.Close()
		return nil, nil, err
	}
	if socket != want {
		if err := os.Symlink(socket, want); err != nil && !errors.Is(err, os.ErrExist) {
			h.Log.Warn("no link to the QMP socket", "vm", p.Name, "err", err)
		}
	}
	return proc, client, nil
}

// setLimits sets the limits of disks that the command line does not say. A launcher may have named the devices otherwise.
func (h *Host) setLimits(ctx context.Context, client *qemu.Client, p control.Prepare) error {
	var all []inventory.Limits
	for _, l := range p.Limits {
		all = append(all, inventory.Limits(l))
	}
	err := inventory.SetLimits(ctx, client, all)
	if err != nil && h.Launcher != "" {
		h.Log.Warn("the launcher must set them", "vm", p.Name, "err", err)
		return nil
	}
	return err
}

// Reopen takes hold of a QEMU that a journal names.
func (h *Host) Reopen(ctx context.Context, rec handover.Record, monitor bool) (*system.Process, hypervisor.Target, error) {
	ctx, cancel := context.WithTimeout(ctx, system.QMPTimeout)
	defer cancel()
	proc, err := h.reopen(ctx, rec)
	if err != nil {
		return nil, nil, fmt.Errorf("vm %s: %w", rec.Name, err)
	}
	if !monitor {
		return proc, nil, nil
	}
	client, err := qemu.Dial(ctx, rec.Socket)
	if err != nil {
		proc.Close()
		return nil, nil, fmt.Errorf("vm %s: %w", rec.Name, err)
	}
	return proc, TargetOf(client, h.Log.With("vm", rec.Name)), nil
}

func (h *Host) reopen(ctx context.Context, rec handover.Record) (*system.Process, error) {
	log := filepath.Join(h.RunDir, rec.Name+".log")
	if !system.Exists(log) {
		log = ""
	}
	proc, err := system.OpenProcess(rec.PID, rec.Socket, log) // first, so that the answer is about what is held
	if err != nil {
		return nil, err
	}
	pid, err := qemu.MonitorPID(ctx, rec.Socket)
	if err == nil && pid != rec.PID {
		err = fmt.Errorf("process %d is not the one that was started (%d)", pid, rec.PID)
	}
	if err != nil {
		proc.Close()
		return nil, err
	}
	return proc, nil
}

// EndUnrecorded ends the QEMUs that a receiver was starting for a VM when it was killed, and says how many there were; dry: only that.
func (h *Host) EndUnrecorded(name string, dry bool) (int, error) {
	pids, err := qemu.Leftovers(h.RunDir, name)
	if dry {
		return len(pids), err
	}
	ended := 0
	for _, pid := range pids {
		proc, perr := system.OpenProcess(pid, "", filepath.Join(h.RunDir, name+".log"))
		switch {
		case perr == nil:
			proc.SignalKill()
			proc.Reap()
			proc.Close()
			ended++
		case !system.NoProcess(perr):
			err = errors.Join(err, perr)
		}
	}
	return ended, err
}
