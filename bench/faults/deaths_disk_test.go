//go:build lab

package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/image"
)

// diskBytes is the size of the disk that travels with a guest.
const diskBytes = 1<<20 + 512

// withDisk gives a guest a disk that is on its source alone.
func (e *evacuation) withDisk(c lab.GuestConfig, seed int) (lab.GuestConfig, error) {
	e.disk = make([]byte, diskBytes)
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	rng.Read(e.disk[diskBytes/4 : diskBytes/2])
	file, format := lab.DiskFile(e.Source, c.Name), "raw"
	if e.qcow2 = seed%2 == 1; e.qcow2 {
		format = "qcow2"
	}
	c.Extra = append(c.Extra, image.DiskOptions(file, format)...)
	if err := os.WriteFile(file, e.disk, 0o600); err != nil || !e.qcow2 {
		return c, err
	}
	err := qemuImg("convert", "-f", "raw", "-O", "qcow2", file, file+".new")
	return c, errors.Join(err, os.Rename(file+".new", file))
}

func qemuImg(args ...string) error {
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("qemu-img %s: %w: %s", args[0], err, out)
	}
	return nil
}

// readDisk reads what a guest sees in an image.
func (e *evacuation) readDisk(file string) ([]byte, error) {
	if _, err := os.Stat(file); err != nil || !e.qcow2 {
		b, rerr := os.ReadFile(file)
		return b, errors.Join(err, rerr)
	}
	raw := filepath.Join(e.dir, "disk.raw")
	if err := errors.Join(qemuImg("check", "-U", file), qemuImg("convert", "-U", "-f", "qcow2", "-O", "raw", file, raw)); err != nil {
		return nil, err
	}
	return os.ReadFile(raw)
}

// judgeDisk compares the disk where the VM is, and makes sure that nothing is left of it, nor of the mirror, where it is not. What is left where nobody can
// know whose it is must be said.
func (e *evacuation) judgeDisk(ctx context.Context, v *verdict, actual string) {
	there, err := e.readDisk(lab.DiskFile(e.target, e.guest.Name))
	switch {
	case actual == e.target.Name && err != nil:
		v.blame("%v", err)
	case actual == e.target.Name && !bytes.Equal(there, e.disk):
		v.blame("its disk is another one on the target")
	case actual == e.Source.Name && !errors.Is(err, fs.ErrNotExist) && !e.toldOfDisk():
		v.blame("its disk is left on the target (%v)", err)
	}
	if pids := writers(lab.DiskFile(e.target, e.guest.Name)); len(pids) > 0 {
		v.blame("its disk is held open on the target by processes %v", pids)
	}
	if actual != e.Source.Name {
		return
	}
	if here, err := e.readDisk(lab.DiskFile(e.Source, e.guest.Name)); err != nil || !bytes.Equal(here, e.disk) {
		v.blame("its disk has changed (%v)", err)
	}
	if err := e.mirrorLeft(ctx); err != nil {
		v.blame("%v", err)
	}
}

// writers are the processes of qemu-nbd that have a file open, whether or not it has a name any more.
func writers(file string) (pids []string) {
	open, _ := filepath.Glob("/proc/[0-9]*/fd/*") // what has ended meanwhile, has none
	for _, fd := range open {
		if name, err := os.Readlink(fd); err != nil || strings.TrimSuffix(name, " (deleted)") != file {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		if comm, err := os.ReadFile("/proc/" + pid + "/comm"); err == nil && strings.HasPrefix(string(comm), "qemu-nbd") && !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// toldOfDisk tells whether the target has said that a disk may be left.
func (e *evacuation) toldOfDisk() bool {
	for _, r := range e.recvs {
		if strings.Contains(r.Log(), "may have been made for vm "+e.guest.Name) {
			return true
		}
	}
	return false
}

// mirrorLeft is an error if the source's QEMU has block nodes that it did not have, or exports.
func (e *evacuation) mirrorLeft(ctx context.Context) (err error) {
	m, err := e.guest.Monitor(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	var nodes []struct {
		Name string `json:"node-name"`
	}
	if err := m.Do(ctx, "query-named-block-nodes", map[string]bool{"flat": true}, &nodes); err != nil {
		return err
	}
	var exports []any
	if err := m.Do(ctx, "query-block-exports", nil, &exports); err != nil {
		return err
	}
	if len(nodes) != 2 || len(exports) > 0 {
		err = fmt.Errorf("block nodes or exports are left: %v, %v", nodes, exports)
	}
	return err
}
