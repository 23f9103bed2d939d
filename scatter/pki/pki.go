// Package pki makes and loads the certificates by which hosts know each other.
//
// One directory per host, in the layout that QEMU and libvirt use:
//
//	ca-cert.pem       the authority, or several, that this host trusts
//	server-cert.pem   what the host shows when it is dialled   (a target)
//	server-key.pem
//	client-cert.pem   what the host shows when it dials        (a source)
//	client-key.pem
//
// Each certificate names its host: DNS SAN = name, IP SAN = its addresses, CN = name. Where one certificate
// serves both ends, one of the two pairs is enough. The authority's own directory holds ca-cert.pem and ca-key.pem.
//
// Connections are TLS 1.3 with certificates on both sides. A dialler says which name or address it wants; a listener
// says which names it allows. Every refusal is an *Error, which says what is wrong and what to do about it;
// errors of a handshake are turned into one by Explain.
package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The files of a directory.
const (
	CACert     = "ca-cert.pem"
	CAKey      = "ca-key.pem"
	ServerCert = "server-cert.pem"
	ServerKey  = "server-key.pem"
	ClientCert = "client-cert.pem"
	ClientKey  = "client-key.pem"
)

// MaxFile bounds each file that is read, in bytes.
const MaxFile = 1 << 20

// Error says which file or peer is wrong, how, and what to do about it.
type Error struct {
	Subject string // the file, or the peer's name
	Problem string
	Remedy  string
	Err     error // what was found underneath, or nil
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s; %s", e.Subject, e.Problem, e.Remedy)
}

func (e *Error) Unwrap() error { return e.Err }

// newFile creates path with mode, writes b and syncs it. It never overwrites.
func newFile(path string, b []byte, mode fs.FileMode) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return exists(path)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(path)
		}
	}()
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Sync()
}

func exists(path string) error {
	return &Error{Subject: path, Problem: "exists already", Remedy: "nothing was overwritten: choose another directory, or move the old files away first", Err: fs.ErrExist}
}

// file is one file of a directory to be written.
type file struct {
	name string
	mode fs.FileMode
	data []byte
}

// writeDir creates dir if need be, and all files in it or none.
func writeDir(dir string, files []file) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(dir, f.name)); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(err, exists(filepath.Join(dir, f.name)))
		}
	}
	for i, f := range files {
		if err := newFile(filepath.Join(dir, f.name), f.data, f.mode); err != nil {
			for _, g := range files[:i] {
				os.Remove(filepath.Join(dir, g.name))
			}
			return err
		}
	}
	return nil
}
