package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/pageset"
	"github.com/scatter-vm/scatter/scatter/system"
)

// Lazy is the disks of a VM that runs although they are not all there (post-copy). Its QEMU reads and writes them through us then: what is read and is not
// there is asked for and waited for; what is written is there. Whatever comes later is written only where something is lacked, under the same lock, so
// that it never overwrites what the guest has written. A nil one lacks nothing.
type Lazy struct {
	store  *Store // its lock guards the fields below
	routes []handover.Route
	file   string             // of the marks
	socket string             // by which the VM gets them meanwhile
	want   func(asked []byte) // tells the source (control.Wants)

	lacks *pageset.Set          // regions: the disks
	asked map[pageset.Page]bool // what the guest waits for
	waits pages.Waits
	news  chan struct{} // closed when something has come that was waited for; then there is another one
	full  chan struct{} // closed when nothing is lacked
	gone  chan struct{} // closed by Close
	marks *marks        // from Begin on

	way     sync.Mutex // held while the VM's disks are led past their images, or back
	serving *server    // nil: nobody serves them
}

// NewLazy is that of disks that were made for a VM of a name, whose files while it lasts are in a directory. want is told what the guest waits for. Nothing
// is lacked yet.
func NewLazy(s *Store, routes []handover.Route, dir, name string, want func(asked []byte)) *Lazy {
	sizes := make([]uint32, len(s.bytes))
	for i, n := range s.bytes {
		sizes[i] = Image{Bytes: n}.Pages()
	}
	return &Lazy{store: s, routes: routes, file: filepath.Join(dir, name+".marks"), socket: filepath.Join(dir, name+".disks"), want: want,
		lacks: pageset.New(sizes...), asked: make(map[pageset.Page]bool), news: make(chan struct{}), full: make(chan struct{}),
		gone: make(chan struct{})}
}

// Lack says that the VM is going to run without n pages of a disk, from first on.
func (l *Lazy) Lack(region int, first, n uint32) error {
	if l == nil {
		return errNone
	}
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if !l.lacks.AddRun(region-l.store.first, first, n) {
		return fmt.Errorf("%d pages from %d on of disk %d: outside of it", n, first, region-l.store.first)
	}
	return nil
}

// Begin writes down what is lacked, in a file that is made for it, and tells whether that is anything. From then on bulk brings nothing else.
func (l *Lazy) Begin() (lacks bool, err error) {
	if l == nil {
		return false, nil
	}
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if l.lacks.Len() == 0 {
		return false, nil
	}
	if l.marks, err = newMarks(l.file, l.lacks); err != nil {
		return false, err
	}
	l.store.lazy = l
	return true, nil
}

// Routes are those of the disks.
func (l *Lazy) Routes() []handover.Route { return l.routes }

// Marks is the file that says what is lacked; "" where nothing was from the beginning.
func (l *Lazy) Marks() string {
	if l == nil {
		return ""
	}
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if l.marks == nil {
		return ""
	}
	return l.file
}

// Await tells whether nothing is lacked any more, once that is so, or it was closed before.
func (l *Lazy) Await() (full bool) {
	select {
	case <-l.full:
		return true
	case <-l.gone:
		return false
	}
}

// Fill writes those of the pages that are lacked (control.Pages; those of other regions are not ours), and tells how many are left.
func (l *Lazy) Fill(body []byte) (left int, err error) {
	if l == nil {
		return 0, nil
	}
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if l.marks == nil {
		return 0, nil
	}
	err = control.EachPage(body, l.give)
	return l.lacks.Len(), err
}

// give writes a page if it is lacked. The lock is held.
func (l *Lazy) give(region int, page uint32, data []byte) error {
	p := pageset.Page{Region: region - l.store.first, Page: page}
	if !l.lacks.Has(p) {
		return nil
	}
	if err := l.store.put(region, page, data); err != nil {
		return err
	}
	return l.has(p.Region, p.Page, 1)
}

// has notes that n pages of a disk are there. The lock is held.
func (l *Lazy) has(disk int, first, n uint32) error {
	some, awaited := false, false
	for i := first; i < first+n; i++ {
		p := pageset.Page{Region: disk, Page: i}
		some = l.lacks.Remove(p) || some
		if l.asked[p] {
			awaited = true
			delete(l.asked, p)
			l.waits.End(p)
		}
	}
	if !some {
		return nil
	}
	if err := l.marks.note(l.lacks, disk, first, n); err != nil {
		return err
	}
	if awaited {
		close(l.news)
		l.news = make(chan struct{})
	}
	l.check()
	return nil
}

// check notices that nothing is lacked any more. The lock is held.
func (l *Lazy) check() {
	if l.lacks.Len() == 0 {
		close(l.full) // once: nothing is lacked anew
	}
}

// Lacking is what is lacked, as messages for whoever is to send it, and what the guest waits for.
func (l *Lazy) Lacking() (lacks []control.Lacks, asked []byte) {
	if l == nil {
		return nil, nil
	}
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	for p := range l.asked {
		asked = control.AppendWant(asked, l.store.first+p.Region, p.Page)
	}
	return pages.LacksOf(l.lacks, l.store.first), asked
}

// Left is how many pages are lacked.
func (l *Lazy) Left() int {
	if l == nil {
		return 0
	}
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	return l.lacks.Len()
}

// Waits is how the guest has waited so far.
func (l *Lazy) Waits() (w pages.Waits) {
	if l == nil {
		return w
	}
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	w.Add(&l.waits)
	return w
}

// LeadPast has the VM's disks served by us as long as some of them are lacked. It may be called again, by whoever does not know.
func (l *Lazy) LeadPast(ctx context.Context, vm hypervisor.Routes) error {
	if l == nil {
		return nil
	}
	l.way.Lock()
	defer l.way.Unlock()
	if l.Left() == 0 {
		return nil
	}
	if err := l.serve(); err != nil {
		return err
	}
	return vm.LeadPast(ctx, l.routes, l.socket)
}

// Serve is for a VM that may have been led past them by somebody else: it comes back to us.
func (l *Lazy) Serve() error {
	if l == nil {
		return nil
	}
	l.way.Lock()
	defer l.way.Unlock()
	return l.serve()
}

// LeadBack makes disks safe that are all there, and has the VM read and write their images; vm is nil where it has ended.
func (l *Lazy) LeadBack(ctx context.Context, vm hypervisor.Routes) error {
	if l == nil {
		return nil
	}
	l.way.Lock()
	defer l.way.Unlock()
	if err := l.store.sync(false); err != nil { // before, or the guest waits for it
		return err
	}
	if vm != nil {
		if err := vm.LeadBack(ctx, l.routes); err != nil {
			return err
		}
	}
	l.stopServing()
	if err := os.Remove(l.file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("marks of disks: %w", err)
	}
	return nil
}

// backEvery is how often it is tried to lead disks back.
const backEvery = 5 * time.Second

// KeepLeadingBack is LeadBack until it succeeds, for a VM cannot be left on a server that may end. told gets what is in the way.
func (l *Lazy) KeepLeadingBack(ctx context.Context, vm func(context.Context) (hypervisor.Routes, error), told func(error)) error {
	for {
		try, cancel := context.WithTimeout(ctx, system.QMPTimeout)
		routes, err := vm(try)
		if err == nil {
			err = l.LeadBack(try, routes)
		}
		cancel()
		if err == nil {
			return nil
		}
		told(err)
		if err := system.Pause(ctx, backEvery); err != nil {
			return err
		}
	}
}

// Close ends who serves them. What is lacked stays written down.
func (l *Lazy) Close() {
	if l == nil {
		return
	}
	l.stopServing()
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	select {
	case <-l.gone:
	default:
		close(l.gone)
	}
	l.marks.close()
}

// Drop is Close for a VM that has never run here.
func (l *Lazy) Drop() {
	if l == nil {
		return
	}
	l.Close()
	_ = os.Remove(l.file) // the next VM of that name makes it anew
}
