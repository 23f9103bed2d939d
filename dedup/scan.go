package dedup

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// chunkPages is how much a worker reads at once: 256 KiB stay in the core's L2 cache between reading and hashing.
const chunkPages = 64

// Reader gives a scan the bytes of the regions.
type Reader interface {
	// ReadPages fills dst with n pages of a region beginning at first. It must be safe for concurrent use.
	ReadPages(region int, first uint32, n int, dst []byte) error
	// Populated yields the runs of a region that may be non-zero, and returns yield's error at once.
	Populated(region int, yield func(first, n uint32) error) error
}

// ScanOptions tunes a scan. The zero value is fine.
type ScanOptions struct {
	Workers Workers
	Read    *atomic.Uint64 // when set, counts the pages as they are read
	Log     *slog.Logger   // nil = discard
}

// Look is what one scan saw: a hash for every page, 0 for a zero page.
type Look struct {
	hashes []uint64
	read   uint64
	seed   Seed
}

// Read is the number of pages whose bytes were read; the others are holes and count as zero.
func (k *Look) Read() uint64 { return k.read }

// Hash is the hash of a page, 0 when it is zero. It must not be called once NewIndex has consumed the look.
func (k *Look) Hash(p Page) uint64 { return k.hashes[p] }

// Scan reads every populated page once and hashes it. It returns the first error of the reader, or the cause of ctx.
func Scan(ctx context.Context, rd Reader, l *Layout, seed Seed, opt ScanOptions) (*Look, error) {
	s := &scan{rd: rd, l: l, look: &Look{hashes: make([]uint64, l.Pages()), seed: seed}}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	begin := time.Now()
	if err := s.run(ctx, opt); err != nil {
		return nil, err
	}
	opt.Log.Info("scan done", "pages", l.Pages(), "read", s.look.read, "took", time.Since(begin))
	return s.look, nil
}

// StripePages is the number of pages of a stripe: what Renew looks at, or not.
const StripePages = 16

// Clone is a copy that can be renewed.
func (k *Look) Clone() *Look {
	c := *k
	c.hashes = slices.Clone(k.hashes)
	return &c
}

// Renew looks again at the pages of wanted stripes: stripe i of a region begins at its page i * StripePages. What the look has of other pages
// stays. After an error it is of no use.
func (k *Look) Renew(ctx context.Context, rd Reader, l *Layout, wanted func(region int, stripe uint32) bool, opt ScanOptions) error {
	if uint64(len(k.hashes)) != l.Pages() {
		return fmt.Errorf("renew: a look at %d pages, layout has %d", len(k.hashes), l.Pages())
	}
	s := &scan{rd: rd, l: l, look: k, wanted: wanted}
	for region, r := range l.regions { // holes are zero
		s.stripes(run{region, 0, r.Pages}, func(c run) error {
			at := l.starts[region] + uint64(c.first)
			clear(k.hashes[at : at+uint64(c.n)])
			return nil
		})
	}
	return s.run(ctx, opt)
}

// stripes yields the parts of a run that are wanted, and returns yield's error at once.
func (s *scan) stripes(r run, yield func(run) error) error {
	if s.wanted == nil {
		return yield(r)
	}
	for end := r.first + r.n; r.first < end; r.first += r.n {
		stripe := r.first / StripePages
		r.n = min(end-r.first, StripePages-r.first%StripePages)
		if s.wanted(r.region, stripe) {
			if err := yield(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// run is a stretch of pages within one region.
type run struct {
	region   int
	first, n uint32
}

type scan struct {
	rd    Reader
	l     *Layout
	look  *Look
	count *atomic.Uint64

	wanted func(region int, stripe uint32) bool // nil = all
}

// run looks at all that is wanted, and adds to what the look has read.
func (s *scan) run(ctx context.Context, opt ScanOptions) error {
	if s.count = opt.Read; s.count == nil {
		s.count = new(atomic.Uint64)
	}
	before := s.count.Load()
	defer func() { s.look.read += s.count.Load() - before }()
	workers := opt.Workers.complete()
	g, ctx := errgroup.WithContext(ctx)
	chunks := make(chan run, 4*workers.Count)
	g.Go(func() error {
		defer close(chunks)
		return s.split(ctx, chunks)
	})
	for range workers.Count {
		g.Go(func() error {
			workers.Begin()
			return s.work(chunks)
		})
	}
	return g.Wait()
}

// split cuts the populated runs of all regions into chunks.
func (s *scan) split(ctx context.Context, chunks chan<- run) error {
	for region, r := range s.l.regions {
		err := s.rd.Populated(region, func(first, n uint32) error {
			if uint64(first)+uint64(n) > uint64(r.Pages) {
				return fmt.Errorf("populated run %d+%d ends beyond page %d", first, n, r.Pages)
			}
			return s.stripes(run{region, first, n}, func(r run) error { return send(ctx, chunks, r) })
		})
		if err != nil {
			return fmt.Errorf("scan: vm %d: ram block %d: %w", r.VM, r.Block, err)
		}
	}
	return nil
}

func send(ctx context.Context, chunks chan<- run, r run) error {
	for r.n > 0 {
		c := run{r.region, r.first, min(r.n, chunkPages)}
		select {
		case chunks <- c:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		r.first, r.n = r.first+c.n, r.n-c.n
	}
	return nil
}

func (s *scan) work(chunks <-chan run) error {
	buf := make([]byte, chunkPages*PageSize)
	for c := range chunks {
		if err := s.chunk(c, buf[:int(c.n)*PageSize]); err != nil {
			r := s.l.regions[c.region]
			return fmt.Errorf("scan: vm %d: ram block %d: pages %d+%d: %w", r.VM, r.Block, c.first, c.n, err)
		}
	}
	return nil
}

func (s *scan) chunk(c run, buf []byte) error {
	if err := s.rd.ReadPages(c.region, c.first, int(c.n), buf); err != nil {
		return err
	}
	base := s.l.starts[c.region] + uint64(c.first)
	out := s.look.hashes[base : base+uint64(c.n)]
	for i := range out {
		out[i] = Digest(s.look.seed, buf[i*PageSize:(i+1)*PageSize])
	}
	s.count.Add(uint64(c.n))
	return nil
}
