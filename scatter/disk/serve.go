package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu/nbd"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
)

// server serves a VM's disks to it.
type server struct {
	cancel context.CancelFunc
	l      net.Listener
	ended  chan struct{}
}

// serve serves the disks, unless they are served. A socket that a process has left that was killed is replaced: its VM comes to us. way is held.
func (l *Lazy) serve() error {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if l.serving != nil {
		return nil
	}
	if err := os.Remove(l.socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("disks: %w", err)
	}
	listener, err := net.Listen("unix", l.socket)
	if err != nil {
		return fmt.Errorf("disks: %w", err)
	}
	if err := os.Chmod(l.socket, 0o600); err != nil {
		return errors.Join(fmt.Errorf("disks: %w", err), listener.Close())
	}
	var exports []nbd.Export
	for i, f := range l.store.files {
		raw, ok := f.(rawFile)
		if !ok {
			return errors.Join(fmt.Errorf("disk %s: is no raw image", f.Name()), listener.Close())
		}
		n := l.store.bytes[i]
		exports = append(exports, nbd.Export{Name: hypervisor.DiskName(i), Size: uint64(n), Device: &lazyDisk{l, i, raw.File, n}})
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{cancel, listener, make(chan struct{})}
	l.serving = s
	go func() {
		defer close(s.ended)
		var clients sync.WaitGroup
		defer clients.Wait()
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			clients.Go(func() { _ = nbd.Serve(ctx, c, exports...) }) // a VM whose connection breaks comes again
		}
	}()
	return nil
}

// stopServing ends that. A VM that is not led back by then waits for the next one to serve it.
func (l *Lazy) stopServing() {
	l.store.mu.Lock()
	s := l.serving
	l.serving = nil
	l.store.mu.Unlock()
	if s == nil {
		return
	}
	s.cancel()
	s.l.Close()
	<-s.ended
}

// Reopen takes hold of disks that another process has made, by what it has written down: those of a VM that runs and lacks some of them, the first of which is
// region first. Both are the caller's to close.
func Reopen(first int, all []handover.RecordDisk, dir, name string, want func(asked []byte)) (*Store, *Lazy, error) {
	s := &Store{first: first, late: true}
	var routes []handover.Route
	for _, d := range all {
		f, err := reopen(d)
		if err == nil && d.Route == nil {
			err = errors.Join(fmt.Errorf("%s: it is not written down how its VM uses it", d.Path), f.Close())
		}
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("disk: %w", err), s.Close())
		}
		s.files, s.bytes, routes = append(s.files, rawFile{f}), append(s.bytes, d.Bytes), append(routes, *d.Route)
	}
	l := NewLazy(s, routes, dir, name, want)
	m, err := openMarks(l.file, l.lacks)
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	l.marks, s.lazy = m, l
	l.check()
	return s, l, nil
}

func reopen(d handover.RecordDisk) (*os.File, error) {
	f, err := os.OpenFile(d.Path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	inode, err := inodeOf(f)
	if err == nil && inode != d.Inode {
		err = fmt.Errorf("%s is another file than the one that was made", d.Path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
