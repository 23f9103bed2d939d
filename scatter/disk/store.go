package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu/image"
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
	Qcow2 *image.Qcow2 // how; nil: it is raw
	Below []image.Backing
}

// Store is the disks of a VM on its target, which are made for it: a pages.Sink. A nil one is of a VM none of whose disks travel.
type Store struct {
	first     int          // region of the first disk; the others follow
	formatted []*formatted // of the files, those that are no raw ones

	mu    sync.Mutex // held while pages are placed
	files []made
	bytes []int64
	late  bool  // bulk comes too late
	lazy  *Lazy // gets what bulk brings, for it comes after the VM runs; nil: it does not

	fresh   int64      // bytes that were written since it was begun to make them safe; guarded by mu
	early   sync.Mutex // held while they are made safe before somebody asks for that
	lost    error      // why that has failed; guarded by mu
	syncing sync.Mutex // held while they are made safe, and nobody waits for it
	wg      sync.WaitGroup
}

// Create makes images, sparse and all zero; those that are not raw are empty files until Format. None of them may be there yet: what is there is
// somebody's. After an error none is. The first one is region first of its VM.
func Create(first int, all []New) (*Store, error) {
	s := &Store{first: first}
	for _, n := range all {
		f, err := os.OpenFile(n.Path, os.O_CREATE|os.O_EXCL|os.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err == nil {
			s.bytes = append(s.bytes, n.Bytes)
			if n.Qcow2 == nil {
				s.files = append(s.files, rawFile{f})
				err = f.Truncate(n.Bytes)
			} else {
				one := &formatted{File: f, bytes: n.Bytes, as: *n.Qcow2, below: n.Below}
				s.files, s.formatted = append(s.files, one), append(s.formatted, one)
			}
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
		inode, err := f.inode()
		if err != nil {
			return nil, fmt.Errorf("disk %s: %w", f.Name(), err)
		}
		all = append(all, inode)
	}
	return all, nil
}

// Place writes bulk pages, whose regions are the VM's. Once Stop was called they come too late and are dropped.
func (s *Store) Place(p *pages.Pages, b block.Block) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	put := s.put
	switch {
	case s.lazy != nil:
		put = s.lazy.give
	case s.late:
		return nil
	}
	for i, o := range p.Owners {
		if err := put(int(o.Block), o.Page, b.Contents[p.From[i]].Data); err != nil {
			return err
		}
	}
	return s.settle()
}

// Digest digests the images, as system.DigestRAM does RAM; nothing where there are none.
func (s *Store) Digest(ctx context.Context) ([][]byte, error) {
	if s == nil {
		return nil, nil
	}
	back := &Images{}
	defer back.Close()
	var all []system.RAMBlock
	for i, f := range s.open() {
		one, err := f.reader(ctx)
		if err != nil {
			return nil, fmt.Errorf("disk %s: %w", f.Name(), err)
		}
		image := Image{Path: f.Name(), Bytes: s.bytes[i]}
		back.all, back.open = append(back.all, image), append(back.open, one)
		all = append(all, system.DiskBlock(f.Name(), s.bytes[i], i))
	}
	return system.DigestRAM(ctx, back, all, nil)
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
	if err := control.EachPage(body, s.put); err != nil {
		return err
	}
	return s.settle()
}

// settle returns when all pages that were put are where they belong. The lock is held.
func (s *Store) settle() error {
	for _, f := range s.files {
		if err := f.settle(); err != nil {
			return fmt.Errorf("disk %s: %w", f.Name(), err)
		}
	}
	return nil
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
		err = f.punch(at, n)
	} else {
		_, err = f.WriteAt(data[:n], at)
	}
	if err != nil {
		return fmt.Errorf("disk %s: %w", f.Name(), err)
	}
	if s.fresh += n; s.fresh >= mostFresh && s.early.TryLock() {
		s.fresh = 0
		go s.syncEarly() // Wait waits for it
	}
	return nil
}

// mostFresh is how much is written at most before it is begun to make it safe: a VM waits for the rest, and who asks for it does not for ever.
const mostFresh = 64 << 20

// syncEarly makes safe what has been written up to now. Why that fails is told to who asks for it: the kernel tells it once.
func (s *Store) syncEarly() {
	defer s.early.Unlock()
	err := s.syncFiles(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.files) > 0 && s.lost == nil { // else it was let go of meanwhile
		s.lost = err
	}
}

// Sync tells once all that was written before outlives a crash of the host; last: nothing more is written, and others may open the images. It does not wait
// for that; Wait does.
func (s *Store) Sync(last bool, done func(error)) error {
	if s == nil {
		return errNone
	}
	if !s.syncing.TryLock() {
		return errors.New("disks: asked for a second time to make them safe, before they are")
	}
	s.wg.Go(func() {
		err := s.sync(last)
		s.syncing.Unlock()
		done(err)
	})
	return nil
}

func (s *Store) sync(last bool) error {
	s.mu.Lock()
	lost := s.lost
	s.mu.Unlock()
	if lost != nil {
		return lost
	}
	return s.syncFiles(last)
}

func (s *Store) syncFiles(last bool) error {
	for _, f := range s.open() {
		if err := f.sync(last); err != nil {
			return fmt.Errorf("disk %s: %w", f.Name(), err)
		}
	}
	return nil
}

// open are the files; none after Close.
func (s *Store) open() []made {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files
}

// Wait returns when nothing is being made safe any more, and after Close, when nothing has an image open; which may take as long as the storage does.
func (s *Store) Wait() {
	if s == nil {
		return
	}
	s.wg.Wait()
	s.early.Lock()
	s.early.Unlock() //lint:ignore SA2001 whoever holds it is waited for
	for _, f := range s.formatted {
		f.wait()
	}
}

// AwaitLetGo returns when others may open the images: Sync was asked to be the last, and has succeeded.
func (s *Store) AwaitLetGo() error {
	if s == nil {
		return nil
	}
	s.wg.Wait()
	for _, f := range s.formatted {
		if _, err := f.served(); err == nil {
			return fmt.Errorf("disk %s: is still being written", f.Name())
		}
	}
	return nil
}

// Close lets go of the images, which stay.
func (s *Store) Close() (err error) {
	if s == nil {
		return nil
	}
	for _, f := range s.formatted {
		f.hurry() // or what is being written would be waited for
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
