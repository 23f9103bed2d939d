package nbd

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/scatter-vm/scatter/qemu/internal/kit"
)

// memory is a device in memory, with holes of whole units.
type memory struct {
	mu      sync.Mutex
	data    []byte
	held    []bool // by unit: room is kept
	flushes int
}

const unit = 64 << 10

func newMemory(units int) *memory {
	return &memory{data: make([]byte, units*unit), held: make([]bool, units)}
}

func (m *memory) export(name string) Export {
	return Export{Name: name, Size: uint64(len(m.data)), Device: m}
}

func (m *memory) Read(_ context.Context, p []byte, off uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	copy(p, m.data[off:])
	return nil
}

func (m *memory) Write(_ context.Context, p []byte, off uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	copy(m.data[off:], p)
	for i := off / unit; i*unit < off+uint64(len(p)); i++ {
		m.held[i] = true
	}
	return nil
}

func (m *memory) Zero(_ context.Context, off, n uint64, hole bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.data[off : off+n])
	for i := off / unit; i*unit < off+n; i++ {
		if whole := i*unit >= off && (i+1)*unit <= off+n; !hole || !whole {
			m.held[i] = m.held[i] || !hole
		} else {
			m.held[i] = false
		}
	}
	return nil
}

func (m *memory) Flush(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flushes++
	return nil
}

func (m *memory) Extents(_ context.Context, off, _ uint64) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		m.mu.Lock()
		held := slices.Clone(m.held)
		m.mu.Unlock()
		for off < uint64(len(m.data)) {
			end := (off/unit + 1) * unit
			e := Extent{Bytes: end - off, Hole: !held[off/unit], Zero: !held[off/unit]}
			if off = end; !yield(e, nil) {
				return
			}
		}
	}
}

// bytes is what the device holds.
func (m *memory) bytes() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.data)
}

// listen serves the exports to whoever connects, and returns the socket.
func listen(t testing.TB, exports ...Export) string {
	t.Helper()
	socket := filepath.Join(kit.ShortDir(t), "nbd")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				if err := Serve(ctx, c, exports...); err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("serve: %v", err)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		wg.Wait()
	})
	return socket
}
