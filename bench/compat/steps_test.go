//go:build lab

package compat

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/scatter-vm/scatter/bench/lab/witness"
)

// do gives a VM the commands of a row:
//
//	device_add {"driver": ...}     a command of QMP
//	hmp: o /w 0x604 0x2400         one of the monitor for humans
//	job: mirror0 ready             wait until a job is in a state
//	is: paused                     wait until the VM is in a run state
//	gone: usb1                     wait until a device is gone
//	freed: nic.rom                 wait until no RAM block is called so: a QEMU that emulates hangs when a migration starts meanwhile
//	undriven: d0                   wait until a drive is gone
//	retry: chardev-remove {...}    a command until it succeeds
//	rm: $LOCAL/a.iso               remove a file on the source
//	dump: pipe                     dump into a pipe that nobody reads
//	hold: monitor                  be a client of the monitor that scatter is told
//	kill: vm                       kill the VM's QEMU
func (v *vm) do(ctx context.Context, steps []string) error {
	for _, s := range steps {
		if err := v.step(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func (v *vm) step(ctx context.Context, s string) error {
	word, rest, _ := strings.Cut(s, " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "hmp:":
		out, err := v.monitor.Human(ctx, rest)
		if low := strings.ToLower(out); err == nil && (strings.Contains(low, "error") || strings.Contains(low, "invalid")) {
			err = fmt.Errorf("%s", out)
		}
		return err
	case "job:":
		id, state, _ := strings.Cut(rest, " ")
		return await(ctx, s, func() error { return v.jobIs(ctx, id, state) })
	case "is:":
		return v.monitor.AwaitStatus(ctx, rest)
	case "gone:":
		return await(ctx, s, func() error { return isGone(ctx, v.monitor, rest) })
	case "freed:":
		return await(ctx, s, func() error { return v.tellsNot(ctx, "info ramblock", rest) })
	case "undriven:":
		return await(ctx, s, func() error { return v.tellsNot(ctx, "info block", rest) })
	case "retry:":
		return await(ctx, s, func() error { return v.step(ctx, rest) })
	case "rm:":
		return os.Remove(rest)
	case "dump:":
		return v.dumpIntoPipe(ctx)
	case "hold:":
		m, err := witness.Dial(ctx, v.qmp)
		v.held = m
		return err
	case "kill:":
		v.program.end(syscall.SIGKILL)
		return nil
	}
	var arguments any
	if rest != "" {
		if err := json.Unmarshal([]byte(rest), &arguments); err != nil {
			return err
		}
	}
	return v.monitor.Do(ctx, word, arguments, nil)
}

// spoil makes the first cluster of a qcow2 image a compressed one that cannot be unpacked.
func spoil(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	table := make([]byte, 8)
	if _, err := f.ReadAt(table, 40); err != nil { // header: offset of the first table
		return err
	}
	if _, err := f.ReadAt(table, int64(binary.BigEndian.Uint64(table))); err != nil {
		return err
	}
	second := binary.BigEndian.Uint64(table) & 0x00fffffffffffe00
	_, err = f.WriteAt(binary.BigEndian.AppendUint64(nil, 1<<62|0x50000), int64(second))
	return err
}

func (v *vm) jobIs(ctx context.Context, id, state string) error {
	var jobs []struct{ ID, Status string }
	if err := v.monitor.Do(ctx, "query-jobs", nil, &jobs); err != nil {
		return err
	}
	status := "gone"
	for _, j := range jobs {
		if j.ID == id {
			status = j.Status
		}
	}
	if status != state {
		return fmt.Errorf("job %s is %s", id, status)
	}
	return nil
}

// hasBooted: the firmware has nothing more to do, and the processor waits for an interrupt. Under KVM that is not seen; the firmware is quick there.
func (v *vm) hasBooted(ctx context.Context) error {
	var kvm struct{ Enabled bool }
	if err := v.monitor.Do(ctx, "query-kvm", nil, &kvm); err != nil || kvm.Enabled {
		return err
	}
	status, err := v.monitor.Status(ctx)
	if err != nil || status != "running" {
		return err
	}
	out, err := v.monitor.Human(ctx, "info registers")
	if err == nil && !strings.Contains(out, "HLT=1") {
		err = errors.New("the processor works")
	}
	return err
}

// tellsNot looks for a text in what the monitor prints.
func (v *vm) tellsNot(ctx context.Context, line, text string) error {
	out, err := v.monitor.Human(ctx, line)
	if err == nil && strings.Contains(out, text) {
		err = fmt.Errorf("%s: %s", line, out)
	}
	return err
}

func isGone(ctx context.Context, m *witness.Monitor, device string) error {
	var list []property
	if err := m.Do(ctx, "qom-list", map[string]string{"path": "/machine/peripheral"}, &list); err != nil {
		return err
	}
	for _, p := range list {
		if p.Name == device {
			return fmt.Errorf("device %s is there", device)
		}
	}
	return nil
}
