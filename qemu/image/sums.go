package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Sums are the SHA-256 of files that nobody writes to, each of which is read once: as long as it has its inode, its size and its time, it is the same.
type Sums struct {
	mu    sync.Mutex // held while a file is read: who else asks for it has it then
	known map[identity][]byte
}

type identity struct {
	dev, inode uint64
	bytes      int64
	sec, nsec  int64
}

// Of is that of a regular file.
func (s *Sums) Of(ctx context.Context, path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	before, err := identityOf(f)
	if err != nil {
		return nil, err
	}
	if sum := s.known[before]; sum != nil {
		return sum, nil
	}
	h, buf := sha256.New(), make([]byte, 1<<20)
	for err == nil {
		var n int
		n, err = f.Read(buf)
		h.Write(buf[:n])
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, err
	}
	if after, err := identityOf(f); err != nil || after != before {
		return nil, errors.Join(err, errors.New(path+" is being written"))
	}
	if s.known == nil {
		s.known = make(map[identity][]byte)
	}
	s.known[before] = h.Sum(nil)
	return s.known[before], nil
}

func identityOf(f *os.File) (i identity, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return i, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return i, errors.New(f.Name() + " is no regular file")
	}
	return identity{uint64(st.Dev), st.Ino, st.Size, int64(st.Mtim.Sec), int64(st.Mtim.Nsec)}, nil
}
