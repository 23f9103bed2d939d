package target

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/system"
)

// start starts the QEMU for a VM and returns it with its open monitor.
func (r *receiver) start(ctx context.Context, p control.Prepare) (*system.Process, *qemu.Client, error) {
	if r.cfg.Launcher != "" {
		return r.startByLauncher(ctx, p)
	}
	c, err := r.cfg.Policy.Command(p.Argv, p.Name, r.cfg.RunDir)
	if err != nil {
		return nil, nil, err
	}
	if c.Memory > p.Memory {
		return nil, nil, fmt.Errorf("its command line asks for %d MiB of memory, and the source has announced %d MiB", c.Memory>>20, p.Memory>>20)
	}
	q, err := qemu.Launch(ctx, c, r.log)
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

// defaultQEMU is the binary that tells the version when none is configured.
func defaultQEMU(binary string) string {
	if binary != "" {
		return binary
	}
	return "/usr/bin/qemu-system-x86_64"
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

func (r *receiver) startByLauncher(ctx context.Context, p control.Prepare) (*system.Process, *qemu.Client, error) {
	want := filepath.Join(r.cfg.RunDir, p.Name+".qmp")
	req, err := json.Marshal(launchRequest{p.Name, p.Machine, p.Memory, p.VCPUs, p.Argv, r.cfg.RunDir, want})
	if err != nil {
		return nil, nil, err
	}
	socket, err := qemu.LaunchExternal(ctx, r.cfg.Launcher, req)
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
			r.log.Warn("no link to the QMP socket", "vm", p.Name, "err", err)
		}
	}
	return proc, client, nil
}
