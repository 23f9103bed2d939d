package disk

import (
	"bytes"
	"context"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
)

// lazyRig is the disk of a VM that runs without it, and its source, which sends what is asked for and, page by page, the rest.
type lazyRig struct {
	t      *testing.T
	dir    string
	source []byte // what the disk was when the VM took over
	now    []byte // what its guest has made of it

	mu     sync.Mutex
	asked  []uint32
	asking chan struct{} // has a token when something was asked for
	store  *Store
	lazy   *Lazy
}

const lazyRegion = 3 // of the disk, in messages

func newLazyRig(t *testing.T, bytes int) *lazyRig {
	t.Helper()
	r := &lazyRig{t: t, dir: t.TempDir(), source: kit.Noise(bytes), asking: make(chan struct{}, 1)}
	r.now = append([]byte(nil), r.source...)
	store, err := Create(lazyRegion, []New{{Path: filepath.Join(r.dir, "disk"), Bytes: int64(bytes)}})
	if err != nil {
		t.Fatal(err)
	}
	r.store = store
	r.lazy = NewLazy(store, nil, r.dir, "vm", r.want)
	t.Cleanup(func() { r.lazy.Close(); r.store.Close() })
	return r
}

func (r *lazyRig) pages() uint32 { return Image{Bytes: int64(len(r.source))}.Pages() }

// begin has the VM lack all of its disk.
func (r *lazyRig) begin() {
	r.t.Helper()
	if err := r.lazy.Lack(lazyRegion, 0, r.pages()); err != nil {
		r.t.Fatal(err)
	}
	if lacks, err := r.lazy.Begin(); err != nil || !lacks {
		r.t.Fatal(lacks, err)
	}
}

func (r *lazyRig) want(asked []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, page := range (control.Wants{Body: asked}).Each() {
		r.asked = append(r.asked, page)
	}
	select {
	case r.asking <- struct{}{}:
	default:
	}
}

// page is a message with a page of the source.
func (r *lazyRig) page(p uint32) []byte {
	data := make([]byte, model.PageSize)
	copy(data, r.source[int(p)*model.PageSize:])
	return control.AppendPage(nil, lazyRegion, p, data)
}

// answer sends what was asked for.
func (r *lazyRig) answer() {
	r.mu.Lock()
	asked := r.asked
	r.asked = nil
	r.mu.Unlock()
	for _, p := range asked {
		r.fill(p)
	}
}

func (r *lazyRig) fill(p uint32) {
	if _, err := r.lazy.Fill(r.page(p)); err != nil {
		r.t.Error(err)
	}
}

// device is the disk as its VM has it.
func (r *lazyRig) device() *lazyDisk {
	return &lazyDisk{r.lazy, 0, r.store.files[0].(rawFile).File, int64(len(r.source))}
}

// replace is what a killed process leaves to the next one.
func (r *lazyRig) replace() {
	r.t.Helper()
	inodes, err := r.store.Inodes()
	if err != nil {
		r.t.Fatal(err)
	}
	path := r.store.files[0].Name()
	r.lazy.Close()
	r.store.Close()
	all := []handover.RecordDisk{{Path: path, Inode: inodes[0], Bytes: int64(len(r.source)), Route: &handover.Route{}}}
	if r.store, r.lazy, err = Reopen(lazyRegion, all, r.dir, "vm", r.want); err != nil {
		r.t.Fatal(err)
	}
}

// TestLazyReadWaits: what is not there is asked for once, and waited for; what is there is not asked for.
func TestLazyReadWaits(t *testing.T) {
	r := newLazyRig(t, 8*model.PageSize)
	r.begin()
	got := make([]byte, 3*model.PageSize)
	if _, err := r.lazy.Fill(r.page(0)); err != nil {
		t.Fatal(err)
	}
	if err := r.device().Read(t.Context(), got[:model.PageSize], 0); err != nil || !bytes.Equal(got[:model.PageSize], r.source[:model.PageSize]) {
		t.Fatalf("a page that is there: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- r.device().Read(t.Context(), got, model.PageSize/2) }()
	<-r.asking
	select {
	case err := <-done:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	r.answer()
	if err := <-done; err != nil || !bytes.Equal(got, r.source[model.PageSize/2:][:len(got)]) {
		t.Errorf("wrong bytes (%v)", err)
	}
	if lacks, asked := r.lazy.Lacking(); len(lacks) != 1 || len(asked) != 0 {
		t.Errorf("lacks %v, asked for %v", lacks, asked)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- r.device().Read(ctx, got[:1], 7*model.PageSize) }()
	<-r.asking
	cancel()
	if err := <-done; err == nil {
		t.Error("waits for ever")
	}
	if _, asked := r.lazy.Lacking(); len(asked) == 0 {
		t.Error("what is waited for is not told again")
	}
}

// TestLazyWritesWin: whatever guest and source do in whatever order, and however often the process is replaced, the guest reads what it has written and
// what was there before, and the image is that at last.
func TestLazyWritesWin(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		size := 40*model.PageSize - rng.IntN(model.PageSize)
		r := newLazyRig(t, size)
		r.begin()
		rest := rng.Perm(int(r.pages()))
		for step := 0; ; step++ {
			select {
			case <-r.lazy.full:
				if got := kit.ReadFile(t, filepath.Join(r.dir, "disk")); !bytes.Equal(got, r.now) {
					t.Fatalf("seed %d: the image differs", seed)
				}
			default:
				r.act(rng)
				if len(rest) > 0 && rng.IntN(3) == 0 {
					r.fill(uint32(rest[0]))
					rest = rest[1:]
				}
				if rng.IntN(20) == 0 {
					r.replace()
				}
				continue
			}
			break
		}
	}
}

// act has the guest do something; what it asks for comes while it waits.
func (r *lazyRig) act(rng *rand.Rand) {
	r.t.Helper()
	off := rng.IntN(len(r.source))
	n := 1 + rng.IntN(min(3*model.PageSize, len(r.source)-off))
	if rng.IntN(2) == 0 { // whole pages, mostly
		off = off / model.PageSize * model.PageSize
		n = min((n+model.PageSize-1)/model.PageSize*model.PageSize, len(r.source)-off)
	}
	d, done := r.device(), make(chan error, 1)
	b := make([]byte, n)
	go func() {
		switch rng.IntN(4) {
		case 0:
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			done <- d.Write(r.t.Context(), b, uint64(off))
		case 1:
			done <- d.Zero(r.t.Context(), uint64(off), uint64(n), rng.IntN(2) == 0)
		case 2:
			b = nil
			done <- d.Flush(r.t.Context())
		default:
			err := d.Read(r.t.Context(), b, uint64(off))
			if !bytes.Equal(b, r.now[off:off+n]) {
				r.t.Errorf("%d bytes at %d: read something else than what is there", n, off)
			}
			done <- err
		}
	}()
	for {
		select {
		case <-r.asking:
			r.answer()
		case err := <-done:
			if err != nil {
				r.t.Error(err)
			}
			if b != nil {
				copy(r.now[off:], b)
			}
			return
		}
	}
}
