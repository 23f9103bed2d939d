package nbd

import (
	"net"
	"os"
	"path/filepath"
)

// DeadEnd is a socket for a server that listens at it, with n connections that wait to be accepted. Nobody else can connect: it has no name any more.
func DeadEnd(n int) (listener *os.File, conns []net.Conn, err error) {
	dir, err := os.MkdirTemp("", "scatter-*") // only we may look into it
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "nbd")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	for range n {
		var c net.Conn
		if err == nil {
			if c, err = net.Dial("unix", path); err == nil {
				conns = append(conns, c)
			}
		}
	}
	if err == nil {
		listener, err = l.File()
	}
	if err != nil {
		for _, c := range conns {
			c.Close()
		}
		return nil, nil, err
	}
	return listener, conns, nil
}
