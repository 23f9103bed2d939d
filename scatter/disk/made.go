package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu/image"
	"github.com/scatter-vm/scatter/scatter/control"
)

// mostBelow bounds how many images lie below one another.
const mostBelow = 32

// NewOf is the image at a path that a source wants made. here judges the source's name of a file that is only read, and tells ours.
func NewOf(d control.NewDisk, path string, here func(name string) (string, error)) (New, error) {
	n := New{Path: path, Bytes: d.Bytes}
	if d.Bytes <= 0 || d.Bytes >= TooLarge {
		return n, fmt.Errorf("disk %.256s: of %d bytes", d.Path, d.Bytes)
	}
	if d.Qcow2 == nil || len(d.Backing) > mostBelow {
		if len(d.Backing) > 0 {
			return n, fmt.Errorf("disk %.256s: with %d backing files", d.Path, len(d.Backing))
		}
		return n, nil
	}
	for _, b := range d.Backing {
		path, err := here(b.Path)
		below := image.Backing{Path: path, Format: b.Format}
		if err == nil {
			err = below.Check()
		}
		if err != nil {
			return n, err
		}
		n.Below = append(n.Below, below)
	}
	n.Qcow2 = new(image.Qcow2(*d.Qcow2))
	if err := n.Qcow2.Check(); err != nil {
		return n, fmt.Errorf("disk %.256s: %w", d.Path, err)
	}
	return n, nil
}

// made is an image that was made for a VM, while it is written. Pages are written by one caller at a time, and are there once settle has returned.
type made interface {
	Name() string
	inode() (uint64, error)
	WriteAt(p []byte, off int64) (int, error)
	punch(at, n int64) error // has it read as zero there
	settle() error
	sync(last bool) error // makes it safe; last: and lets go of it
	reader(ctx context.Context) (opened, error)
	Close() error
}

// rawFile is a raw image.
type rawFile struct{ *os.File }

func (f rawFile) settle() error                          { return nil }
func (f rawFile) sync(bool) error                        { return onFile(f.File, unix.Fdatasync) }
func (f rawFile) inode() (uint64, error)                 { return inodeOf(f.File) }
func (f rawFile) reader(context.Context) (opened, error) { return borrowed{file{File: f.File}}, nil }

// punch makes a hole, or zeros where there are none.
func (f rawFile) punch(at, n int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, n)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = writeZeros(f.File, at, n)
	}
	return err
}

// borrowed is a file that somebody else closes.
type borrowed struct{ file }

func (borrowed) Close() error { return nil }

// onFile does something to a file, on which it holds meanwhile, whoever closes it.
func onFile(f *os.File, do func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := c.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}

func inodeOf(f *os.File) (uint64, error) {
	var st unix.Stat_t
	err := onFile(f, func(fd int) error { return unix.Fstat(fd, &st) })
	return st.Ino, err
}

// formatted is an image that qemu-nbd writes, which has it open from Format until it is let go of.
type formatted struct {
	*os.File
	bytes int64
	as    image.Qcow2
	below []image.Backing

	mu     sync.Mutex // guards server
	server *image.Server

	run     []byte // the pages that follow one another and were put last
	at      int64  // where they belong
	zeros   int64  // likewise: how many bytes of zeros; there are either these or run
	writing errgroup.Group
}

// What is written by one request at most, and how many of these are under way.
const (
	mostRun    = 512 << 10
	mostWrites = 8
)

// Format makes those images that are no raw ones. The files are there, and empty.
func (s *Store) Format(ctx context.Context) error {
	for _, f := range s.formatted {
		if err := f.format(ctx); err != nil {
			return fmt.Errorf("disk %s: %w", f.Name(), err)
		}
	}
	return nil
}

func (f *formatted) format(ctx context.Context) error {
	if err := image.Create(ctx, f.File, f.bytes, f.as, f.below...); err != nil {
		return err
	}
	server, err := image.Open(ctx, f.File, false, f.below...)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.server = server
	f.mu.Unlock()
	f.writing.SetLimit(mostWrites)
	return nil
}

// errLetGo: nothing is written to an image any more.
var errLetGo = errors.New("nobody has the image open to write to it")

// served is what has the image open.
func (f *formatted) served() (*image.Server, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.server == nil {
		return nil, errLetGo
	}
	return f.server, nil
}

func (f *formatted) inode() (uint64, error) { return inodeOf(f.File) }

// WriteAt takes a page, which is written with those that follow it.
func (f *formatted) WriteAt(p []byte, off int64) (int, error) {
	if f.zeros > 0 || off != f.at+int64(len(f.run)) || len(f.run) >= mostRun {
		if err := f.flush(); err != nil {
			return 0, err
		}
		f.at = off
	}
	f.run = append(f.run, p...)
	return len(p), nil
}

func (f *formatted) punch(at, n int64) error {
	if len(f.run) > 0 || at != f.at+f.zeros {
		if err := f.flush(); err != nil {
			return err
		}
		f.at = at
	}
	f.zeros += n
	return nil
}

// flush begins to write what was put last.
func (f *formatted) flush() error {
	run, zeros, at := f.run, f.zeros, uint64(f.at)
	f.run, f.zeros = nil, 0
	if len(run) == 0 && zeros == 0 {
		return nil
	}
	s, err := f.served()
	if err != nil {
		return err
	}
	f.writing.Go(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), writtenIn)
		defer cancel()
		if zeros > 0 {
			return s.Zero(ctx, at, uint64(zeros), true)
		}
		return s.Write(ctx, run, at)
	})
	return nil
}

// How long qemu-nbd may take to write, and to make safe what it has written and end.
const (
	writtenIn = 2 * time.Minute
	letGoIn   = 2 * time.Minute
)

// settle returns when all was written that was put.
func (f *formatted) settle() error {
	err := f.flush()
	if werr := f.writing.Wait(); werr != nil {
		return werr
	}
	f.writing = errgroup.Group{}
	f.writing.SetLimit(mostWrites)
	return err
}

// sync flushes what qemu-nbd has, and what the host's page cache has of the file.
func (f *formatted) sync(last bool) error {
	s, err := f.served()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), letGoIn)
	defer cancel()
	if err := s.Flush(ctx); err != nil || !last {
		return err
	}
	if err := s.Finish(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	f.server = nil
	f.mu.Unlock()
	return onFile(f.File, unix.Fdatasync) // what it wrote when it ended
}

// reader reads the image back, which was let go of.
func (f *formatted) reader(ctx context.Context) (opened, error) {
	if _, err := f.served(); err == nil {
		return nil, errors.New("is being written")
	}
	s, err := image.Open(ctx, f.File, true, f.below...)
	if err != nil {
		return nil, err
	}
	return readBack{served{s.Client, false}, s}, nil
}

// readBack is an image that a server of its own has open.
type readBack struct {
	served
	server *image.Server
}

func (r readBack) Close() error {
	r.server.Kill()
	r.server.Wait()
	return nil
}

// Close ends what has the image open, and does not wait for that.
func (f *formatted) Close() error {
	f.hurry()
	return f.File.Close()
}

// hurry has whoever waits for the image wait no more: what has it open is killed.
func (f *formatted) hurry() {
	if s, err := f.served(); err == nil {
		s.Kill()
	}
}

// wait returns when nothing has the image open any more that was killed.
func (f *formatted) wait() {
	if s, err := f.served(); err == nil {
		s.Wait()
	}
}
