package disk

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/block"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/pageset"
)

// imageOf makes an image with bytes at some places and holes elsewhere, and says what that holds.
func imageOf(t *testing.T, size int64, at map[int64][]byte, direct bool) (Image, []byte) {
	t.Helper()
	want := make([]byte, size)
	for off, b := range at {
		copy(want[off:], b)
	}
	i := sparse(t, size, at)
	i.Direct = direct
	return i, want
}

// sparse is imageOf for a disk of any size.
func sparse(t *testing.T, size int64, at map[int64][]byte) Image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for off, b := range at {
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return Image{Path: path, Inode: st.Ino, Bytes: size}
}

// TestImages: holes are passed over, and all else is what the file has, through the page cache or past it, up to a last page that is none.
func TestImages(t *testing.T) {
	const size = 5<<20 + 512
	data := map[int64][]byte{64 << 10: kit.Noise(100 << 10), 3 << 20: kit.Noise(1 << 20), size - 512: kit.Noise(512)}
	for _, direct := range []bool{false, true} {
		i, want := imageOf(t, size, data, direct)
		want = append(want, make([]byte, int(i.Pages())*model.PageSize-size)...)
		d, err := OpenImages([]Image{i})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		got, read := make([]byte, len(want)), 0
		if err := d.Populated(0, func(first, n uint32) error {
			read += int(n)
			return d.ReadPages(0, first, int(n), got[int(first)*model.PageSize:])
		}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("direct %v: other bytes", direct)
		}
		if read > (2<<20)/model.PageSize {
			t.Errorf("direct %v: %d pages are said to be populated", direct, read)
		}
		refs, to := []qemu.PageRef{{Page: 768}, {Page: 769}, {Page: 16}, {Page: i.Pages() - 1}}, []uint32{3, 4, 0, 1}
		gathered := make([]byte, 5*model.PageSize)
		if err := d.GatherTo(refs, to, gathered); err != nil {
			t.Fatal(err)
		}
		for k, r := range refs {
			if at := int(r.Page) * model.PageSize; !bytes.Equal(gathered[int(to[k])*model.PageSize:][:model.PageSize], want[at:at+model.PageSize]) {
				t.Errorf("direct %v: page %d has other bytes", direct, r.Page)
			}
		}
	}
}

// TestImagesThatAreOthers: what lies in an image's place by now is not read.
func TestImagesThatAreOthers(t *testing.T) {
	i, _ := imageOf(t, 8192, nil, false)
	i.Inode++
	if _, err := OpenImages([]Image{i}); err == nil || !strings.Contains(err.Error(), "another file") {
		t.Error(err)
	}
	i.Path = filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(i.Path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenImages([]Image{i}); err == nil {
		t.Error("a pipe is read")
	}
	i.Path += "s"
	if _, err := OpenImages([]Image{i}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestBehind: what was told is taken, each page once, until it is told again.
func TestBehind(t *testing.T) {
	b := NewBehind(100, 0, 7)
	ctx, want := t.Context(), map[pageset.Page]bool{}
	tell := func(region int, off, n uint64, zero bool) {
		if d := b.Device(region); zero {
			d.Zero(ctx, off, n, true)
		} else {
			d.Write(ctx, make([]byte, n), off)
		}
		for at := off / model.PageSize; at*model.PageSize < off+n; at++ {
			want[pageset.Page{Region: region, Page: uint32(at)}] = true
		}
	}
	tell(0, 512, 512, false)
	tell(0, 4095, 2, false)
	tell(0, 98*model.PageSize, 2*model.PageSize, true)
	tell(2, 0, 7*model.PageSize, false)
	tell(0, 50*model.PageSize, 0, false)
	if b.Len() != len(want) || len(b.News()) != 1 {
		t.Fatalf("%d behind, want %d", b.Len(), len(want))
	}
	var got []pageset.Page
	for taken := b.Take(nil, 3); len(taken) > 0; taken = b.Take(nil, 3) {
		if len(taken) > 3 || slices.ContainsFunc(taken, func(p pageset.Page) bool { return p.Region != taken[0].Region }) {
			t.Errorf("taken at once: %v", taken)
		}
		got = append(got, taken...)
		if len(got) == 3 { // behind where it is being taken: that page comes again, after the others
			tell(0, 0, 1, false)
		}
	}
	if len(got) != len(want)+1 {
		t.Errorf("taken %v, want %v", got, want)
	}
	for _, p := range got {
		if !want[p] {
			t.Errorf("%v was not told", p)
		}
	}
	if b.Len() != 0 {
		t.Errorf("%d left", b.Len())
	}
}

// pair is a disk's source and target.
type pair struct {
	*Pusher
	file   *os.File
	store  *Store
	target string
	sent   int
}

func pairOf(t *testing.T, i Image) *pair {
	t.Helper()
	images, err := OpenImages([]Image{i})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { images.Close() })
	p := &pair{target: filepath.Join(t.TempDir(), "copy.raw")}
	if p.file, err = os.OpenFile(i.Path, os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.file.Close() })
	if p.store, err = Create(3, []New{{Path: p.target, Bytes: i.Bytes}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.store.Close() })
	layout, err := dedup.NewLayout([]dedup.Region{{Pages: i.Pages()}})
	if err != nil {
		t.Fatal(err)
	}
	p.Pusher = &Pusher{Behind: NewBehind(i.Pages()), From: images, Held: dedup.NewHeld(layout), Seed: 7, Region: 3,
		Known: []Pieces{{{First: 0, Pages: i.Pages() / 2}, {First: i.Pages() - 1, Pages: 1, At: dedup.Page(i.Pages() / 2)}}},
		Send: func(_ context.Context, body []byte) error {
			if err := control.EachPage(body, func(int, uint32, []byte) error { p.sent++; return nil }); err != nil {
				return err
			}
			return p.store.Take(body)
		}}
	return p
}

func (p *pair) same(t *testing.T) {
	t.Helper()
	ours, err := os.ReadFile(p.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.ReadFile(p.target)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours, theirs) {
		t.Error("the copy differs")
	}
}

// TestPusher: whatever is written while pages are being pushed, the target has it in the end, and what it has already is not sent.
func TestPusher(t *testing.T) {
	const size = 4<<20 + 1024
	i, _ := imageOf(t, size, map[int64][]byte{0: kit.Noise(1 << 20), size - 1000: kit.Noise(1000)}, false)
	p := pairOf(t, i)
	bulk := kit.Noise(1 << 20)[:model.PageSize] // page 0 came by bulk
	p.Held.Set(0, dedup.HashPage(7, bulk))
	if err := p.store.Take(control.AppendPage(nil, 3, 0, bulk)); err != nil {
		t.Fatal(err)
	}
	if err := p.Sweep(false); err != nil {
		t.Fatal(err)
	}
	if err := p.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.same(t); p.sent != 255+1 {
		t.Errorf("%d pages sent", p.sent)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- p.Run(ctx) }()
	rng := rand.New(rand.NewPCG(1, 2))
	d := p.Behind.Device(0)
	for range 3000 { // as a mirror tells: after the file has it
		off, b := rng.Int64N(size-9000), kit.Noise(1+rng.IntN(9000))
		if rng.IntN(4) == 0 {
			clear(b)
		}
		if _, err := p.file.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
		d.Write(ctx, b, uint64(off))
	}
	cancel()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	if err := p.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.same(t)
	before := p.sent
	d.Write(ctx, make([]byte, 1<<20), 0) // told, and the same as before
	if err := p.Drain(t.Context()); err != nil || p.sent != before {
		t.Errorf("%d pages sent again (%v)", p.sent-before, err)
	}
	synced := make(chan error, 1)
	if err := errors.Join(p.store.Sync(false, func(err error) { synced <- err }), <-synced); err != nil {
		t.Error(err)
	}
}

// TestBlindPusher: where nothing is known of what the target has, it gets all pages that it may have been sent, zeros too, and all others that are no holes.
func TestBlindPusher(t *testing.T) {
	i, _ := imageOf(t, 1<<20, map[int64][]byte{200 * 4096: kit.Noise(4096)}, false)
	p := pairOf(t, i)
	if err := p.store.Take(control.AppendPage(nil, 3, 9, kit.Noise(4096))); err != nil {
		t.Fatal(err)
	}
	if err := p.Sweep(true); err != nil {
		t.Fatal(err)
	}
	if err := p.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.same(t); p.sent != 128+1+1 {
		t.Errorf("%d pages sent", p.sent)
	}
}

// TestLargeDisk: of a disk of a TiB only what is no hole is scanned, in pieces, and found again.
func TestLargeDisk(t *testing.T) {
	const size = 1 << 40
	data := map[int64][]byte{0: kit.Noise(4096), 15 << 20: kit.Noise(2 << 20), 100 << 20: kit.Noise(1), 1 << 39: kit.Noise(50 << 20), size - 512: kit.Noise(512)}
	d, err := OpenImages([]Image{sparse(t, size, data)})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	pieces, err := d.Cut(0)
	if err != nil {
		t.Fatal(err)
	}
	at := dedup.Page(7)
	for i := range pieces {
		pieces[i].At = at
		at += dedup.Page(pieces[i].Pages)
	}
	const unit = 16 << 20 / 4096
	want := Pieces{{0, 2 * unit, 7}, {6 * unit, unit, 7 + 2*unit}, {1 << 39 / 4096, 4 * unit, 7 + 3*unit}, {size/4096 - unit, unit, 7 + 7*unit}}
	if !slices.Equal(pieces, want) {
		t.Fatalf("%+v", pieces)
	}
	for page, want := range map[uint32]int{0: 7, 2*unit - 1: 7 + 2*unit - 1, 2 * unit: -1, 6*unit - 1: -1, 7*unit - 1: 7 + 3*unit - 1, 7 * unit: -1, size/4096 - 1: 7 + 8*unit - 1} {
		if at, ok := pieces.Find(page); ok != (want >= 0) || ok && int(at) != want {
			t.Errorf("page %d: %d, %v", page, at, ok)
		}
	}
}

// TestStore: images are made, and only where there are none; bulk that comes late, and pages that lie outside, do no harm; what was made can be removed.
func TestStore(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	kit.WriteFile(t, b, []byte("somebody's"))
	if _, err := Create(0, []New{{Path: a, Bytes: 4096}, {Path: b, Bytes: 4096}}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(a); !errors.Is(err, fs.ErrNotExist) {
		t.Error("one of them was left")
	}
	if string(kit.ReadFile(t, b)) != "somebody's" {
		t.Error("overwritten")
	}
	s, err := Create(0, []New{{Path: a, Bytes: 5000}})
	if err != nil {
		t.Fatal(err)
	}
	content := block.Block{Contents: []block.Content{{Data: kit.Noise(4096)}}}
	place := func(page uint32) error {
		return s.Place(&pages.Pages{Owners: []block.Owner{{Page: page}}, From: []uint32{0}}, content)
	}
	if err := place(1); err != nil {
		t.Error(err)
	}
	if err := place(2); err == nil {
		t.Error("a page behind the end was taken")
	}
	if err := s.Take(control.AppendPage(nil, 1, 0, nil)); err == nil {
		t.Error("a page of another disk was taken")
	}
	s.Stop()
	if err := place(0); err != nil {
		t.Error(err)
	}
	want := append(make([]byte, 4096), content.Contents[0].Data[:904]...)
	if got := kit.ReadFile(t, a); !bytes.Equal(got, want) {
		t.Errorf("%d bytes, others than those wanted", len(got))
	}
	if err := s.Take(control.AppendPage(nil, 0, 1, nil)); err != nil || !bytes.Equal(kit.ReadFile(t, a), make([]byte, 5000)) {
		t.Errorf("a page was not zeroed (%v)", err)
	}
	if err := s.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(a); !errors.Is(err, fs.ErrNotExist) {
		t.Error("not removed")
	}
}

// TestStoreIsMadeSafeAsItIsWritten: what is written is not left to the last moment, and whoever asks then is told of what was lost before.
func TestStoreIsMadeSafeAsItIsWritten(t *testing.T) {
	const pages = 2 * mostFresh / model.PageSize
	s, err := Create(0, []New{{Path: filepath.Join(t.TempDir(), "disk"), Bytes: pages * model.PageSize}})
	if err != nil {
		t.Fatal(err)
	}
	body := control.AppendPage(nil, 0, 0, make([]byte, model.PageSize))
	for range pages - 1 {
		if err := s.Take(body); err != nil {
			t.Fatal(err)
		}
	}
	s.Wait()
	if s.fresh >= mostFresh {
		t.Errorf("%d bytes are fresh", s.fresh)
	}
	if err := s.sync(false); err != nil {
		t.Error(err)
	}
	s.lost = errors.New("the disk has gone")
	if err := s.sync(false); !errors.Is(err, s.lost) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
