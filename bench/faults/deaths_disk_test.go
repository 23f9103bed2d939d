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
	file := lab.DiskFile(e.Source, c.Name)
	c.Extra = append(c.Extra, image.DiskOptions(file, "raw")...)
	return c, os.WriteFile(file, e.disk, 0o600)
}

// judgeDisk compares the disk where the VM is, and makes sure that nothing is left of it, nor of the mirror, where it is not. What is left where nobody can
// know whose it is must be said.
func (e *evacuation) judgeDisk(ctx context.Context, v *verdict, actual string) {
	there, err := os.ReadFile(lab.DiskFile(e.target, e.guest.Name))
	switch {
	case actual == e.target.Name && err != nil:
		v.blame("%v", err)
	case actual == e.target.Name && !bytes.Equal(there, e.disk):
		v.blame("its disk is another one on the target")
	case actual == e.Source.Name && !errors.Is(err, fs.ErrNotExist) && !e.toldOfDisk():
		v.blame("its disk is left on the target (%v)", err)
	}
	if actual != e.Source.Name {
		return
	}
	if here, err := os.ReadFile(lab.DiskFile(e.Source, e.guest.Name)); err != nil || !bytes.Equal(here, e.disk) {
		v.blame("its disk has changed (%v)", err)
	}
	if err := e.mirrorLeft(ctx); err != nil {
		v.blame("%v", err)
	}
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

// mirrorLeft is an error if the source's QEMU has block nodes that it did not have.
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
	if len(nodes) != 2 {
		err = fmt.Errorf("block nodes are left: %v", nodes)
	}
	return err
}
