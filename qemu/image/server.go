package image

import (
	"context"
	"os"
	"os/exec"
	"sync"

	"github.com/scatter-vm/scatter/qemu/confine"
	"github.com/scatter-vm/scatter/qemu/nbd"
	"github.com/scatter-vm/scatter/qemu/process"
)

// Server is a qemu-nbd that has an image open, and the only connection to it. It ends with that, and with us.
type Server struct {
	*nbd.Client

	child *process.Child
	words *os.File
	once  sync.Once // ends it
}

// activated has a program believe that the socket which it gets as its first file was made for it (sd_listen_fds(3)).
const activated = `LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"`

// Open serves the qcow2 image in a file, to be written or only to be read, with those that are below it.
func Open(ctx context.Context, file *os.File, readOnly bool, below ...Backing) (*Server, error) {
	binary, err := exec.LookPath("qemu-nbd")
	if err != nil {
		return nil, err
	}
	argv := []string{"/bin/sh", "-c", activated, binary, "--format=qcow2", "--discard=unmap", "--detect-zeroes=off", "--shared=1", inherited(1)}
	c := confine.Confinement{Binary: binary, Write: []string{file.Name()}}
	for _, b := range below {
		c.Read = append(c.Read, b.Path)
	}
	if readOnly {
		argv = append(argv, "--read-only")
	}
	listener, conns, err := nbd.DeadEnd(1)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	s := &Server{}
	if s.words, err = scratch(); err != nil {
		conns[0].Close()
		return nil, err
	}
	s.child, err = process.Start(ctx, process.Program{Argv: argv, Bound: true, Log: s.words, Files: []*os.File{listener, file}, Confine: c.Enter})
	if err != nil {
		conns[0].Close()
		s.words.Close()
		return nil, err
	}
	listener.Close() // ours: once the program ends, whoever waits for it to accept is told
	if s.Client, err = nbd.Connect(ctx, conns[0], ""); err != nil {
		defer s.Kill()
		return nil, explain("qemu-nbd", err, s.words)
	}
	return s, nil
}

// Finish has the server write all that it has, and end, in good order. Whoever else opens the image then has it as it is.
func (s *Server) Finish(ctx context.Context) error {
	err := s.Disconnect(ctx)
	if err == nil {
		err = s.child.Wait(ctx)
	}
	defer s.Kill()
	if err != nil {
		return explain("qemu-nbd", err, s.words)
	}
	return nil
}

// Kill ends the server at once, whatever it has not written, if it has not ended. It does not wait for that, which a dead storage may delay; Wait does.
func (s *Server) Kill() {
	s.once.Do(func() {
		s.child.Kill()
		if s.Client != nil {
			s.Client.Close()
		}
		s.words.Close()
	})
}

// Wait returns when the program has ended.
func (s *Server) Wait() { <-s.child.Exited() }
