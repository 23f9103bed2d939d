package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/scatter/block"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/system"
)

// New is an image that is to be made.
type New struct {
	Path  string
	Bytes int64
}

// Store is the disks of a VM on its target, which are made for it: a pages.Sink. A nil one is of a VM none of whose disks travel.
type Store struct {
	first int // region of the first disk; the others follow

	mu    sync.Mutex // held while pages are placed
	files []*os.File
	bytes []int64
	late  bool // bulk comes too late

	syncing sync.Mutex // held while they are made safe, and nobody waits for it
	wg      sync.WaitGroup
}

// Create makes images, sparse and all zero. None of them may be there yet: what is there is somebody's. After an error none is. The first one is region
// first of its VM.
func Create(first int, all []New) (*Store, error) {
	s := &Store{first: first}
	for _, n := range all {
		f, err := os.OpenFile(n.Path, os.O_CREATE|os.O_EXCL|os.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err == nil {
			s.files, s.bytes = append(s.files, f), append(s.bytes, n.Bytes)
			err = f.Truncate(n.Bytes)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("disk: %w", err), s.Remove())
		}
	}
	return s, nil
}

// Inodes are those of the images, by which they are known to be the same.
func (s *Store) Inodes() (all []uint64, err error) {
	for _, f := range s.open() {
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			return nil, fmt.Errorf("disk %s: %w", f.Name(), err)
		}
		all = append(all, st.Ino)
	}
	return all, nil
}

// Place writes bulk pages, whose regions are the VM's. Once Stop was called they come too late and are dropped.
func (s *Store) Place(p *pages.Pages, b block.Block) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.late {
		return nil
	}
	for i, o := range p.Owners {
		if err := s.put(int(o.Block), o.Page, b.Contents[p.From[i]].Data); err != nil {
			return err
		}
	}
	return nil
}

// Digest digests the images, as system.DigestRAM does RAM; nothing where there are none.
func (s *Store) Digest(ctx context.Context) ([][]byte, error) {
	if s == nil {
		return nil, nil
	}
	files := s.open()
	all := make([]system.RAMBlock, len(files))
	for i, f := range files {
		all[i] = system.RAMBlock{Name: f.Name(), Length: uint64(Image{Bytes: s.bytes[i]}.Pages()) * model.PageSize, Index: i}
	}
	return system.DigestRAM(ctx, readBack(files), all, nil)
}

// readBack reads images that were written.
type readBack []*os.File

// ReadPages reads n pages of one; what lies behind its end reads as zero.
func (files readBack) ReadPages(region int, first uint32, n int, dst []byte) error {
	dst = dst[:n*model.PageSize]
	read, err := files[region].ReadAt(dst, int64(first)*model.PageSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("disk: %w", err)
	}
	clear(dst[read:])
	return nil
}

// Stop keeps bulk out, and returns when no page of it is being written.
func (s *Store) Stop() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = true
}

// Take writes pages that came in a message (control.Pages).
func (s *Store) Take(body []byte) error {
	if s == nil {
		return errNone
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return control.EachPage(body, s.put)
}

var errNone = errors.New("pages of disks, none of which travel with it")

// put writes a page, data being nil for one that is all zero. The lock is held.
func (s *Store) put(region int, page uint32, data []byte) error {
	region -= s.first
	if region < 0 || region >= len(s.files) {
		return fmt.Errorf("page %d of disk %d: there is no such disk", page, region)
	}
	f, at := s.files[region], int64(page)*model.PageSize
	n := min(int64(model.PageSize), s.bytes[region]-at)
	if n <= 0 {
		return fmt.Errorf("page %d of disk %s: outside of it", page, f.Name())
	}
	var err error
	if data == nil {
		err = punch(f, at, n)
	} else {
		_, err = f.WriteAt(data[:n], at)
	}
	if err != nil {
		return fmt.Errorf("disk %s: %w", f.Name(), err)
	}
	return nil
}

// punch makes a hole, or zeros where there are none.
func punch(f *os.File, at, n int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, n)
	if errors.Is(err, unix.EOPNOTSUPP) {
		_, err = f.WriteAt(make([]byte, n), at)
	}
	return err
}

// Sync tells once all that was written before outlives a crash of the host. It does not wait for that; Wait does.
func (s *Store) Sync(done func(error)) error {
	if s == nil {
		return errNone
	}
	if !s.syncing.TryLock() {
		return errors.New("disks: asked for a second time to make them safe, before they are")
	}
	s.wg.Go(func() {
		err := s.sync()
		s.syncing.Unlock()
		done(err)
	})
	return nil
}

func (s *Store) sync() error {
	for _, f := range s.open() {
		if err := fdatasync(f); err != nil {
			return fmt.Errorf("disk %s: %w", f.Name(), err)
		}
	}
	return nil
}

// fdatasync holds on to the file meanwhile, whoever closes it.
func fdatasync(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := c.Control(func(fd uintptr) { failed = unix.Fdatasync(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// open are the files; none after Close.
func (s *Store) open() []*os.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files
}

// Wait returns when nothing is being made safe any more, which may take as long as the storage does.
func (s *Store) Wait() {
	if s != nil {
		s.wg.Wait()
	}
}

// Close lets go of the images, which stay.
func (s *Store) Close() (err error) {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.files {
		err = errors.Join(err, f.Close())
	}
	s.files = nil
	return err
}

// Remove is Close, and removes the images.
func (s *Store) Remove() (err error) {
	for _, f := range s.open() {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return errors.Join(err, s.Close())
}
