package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

const pageBytes = 4096

// chunkBytes is how much of a QEMU's memory is read at a time.
const chunkBytes = 1 << 20

// RAMBlock is one block of a guest's memory inside its QEMU.
type RAMBlock struct {
	Name   string
	Length int64
	Host   int64 // address in the process
}

// RAM is the memory of a guest, read through procfs. It tells the truth only while the guest is stopped.
type RAM struct {
	Blocks []RAMBlock
	file   *os.File
}

// OpenRAM opens the memory of the guest's QEMU on h.
func (g *Guest) OpenRAM(ctx context.Context, h *Host) (*RAM, error) {
	m, pid, err := g.monitorOn(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", g.Name, err)
	}
	defer m.Close()
	table, err := m.Human(ctx, "info ramblock")
	if err != nil {
		return nil, err
	}
	blocks, err := parseBlocks(table)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	return &RAM{blocks, file}, err
}

// Close ends the access.
func (r *RAM) Close() error { return r.file.Close() }

// parseBlocks reads the table that `info ramblock` prints: name, page size with its unit, offset, used length, total length,
// host address, access.
func parseBlocks(table string) (blocks []RAMBlock, err error) {
	for _, line := range strings.Split(strings.TrimSpace(table), "\n")[1:] {
		f := strings.Fields(line)
		if len(f) != 8 {
			return nil, fmt.Errorf("ram block %q: %d fields instead of 8", line, len(f))
		}
		length, err1 := strconv.ParseInt(f[4], 0, 64)
		host, err2 := strconv.ParseInt(f[6], 0, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("ram block %s: %w", f[0], err)
		}
		blocks = append(blocks, RAMBlock{f[0], length, host})
	}
	return blocks, nil
}

// read returns the bytes of a block from offset on, as many as fit into buf.
func (r *RAM) read(b RAMBlock, offset int64, buf []byte) ([]byte, error) {
	buf = buf[:min(int64(len(buf)), b.Length-offset)]
	if _, err := r.file.ReadAt(buf, b.Host+offset); err != nil {
		return nil, fmt.Errorf("ram block %s at %#x: %w", b.Name, offset, err)
	}
	return buf, nil
}

// pages calls yield for each page.
func (r *RAM) pages(yield func(page []byte)) error {
	buf := make([]byte, chunkBytes)
	for _, b := range r.Blocks {
		for offset := int64(0); offset < b.Length; offset += chunkBytes {
			chunk, err := r.read(b, offset, buf)
			if err != nil {
				return err
			}
			for len(chunk) > 0 {
				n := min(len(chunk), pageBytes)
				yield(chunk[:n])
				chunk = chunk[n:]
			}
		}
	}
	return nil
}

// Contents is an independent count of what guests hold. All numbers are bytes.
type Contents struct {
	Total    int64
	NonZero  int64
	Distinct int64 // of pages that are not zero, each content counted once: what must cross the source's link at least
}

// CountContents stops the guests on the source, counts what they hold, and lets them run on.
func (l *Lab) CountContents(ctx context.Context, guests ...*Guest) (c Contents, err error) {
	seen := make(map[[sha256.Size]byte]struct{})
	zero := make([]byte, pageBytes)
	for _, g := range guests {
		resume, err := g.Stop(ctx)
		if err != nil {
			return c, err
		}
		defer func() { err = errors.Join(err, resume(ctx)) }()
	}
	for _, g := range guests {
		err := g.eachPage(ctx, func(page []byte) {
			n := int64(len(page))
			c.Total += n
			if bytes.Equal(page, zero[:n]) {
				return
			}
			c.NonZero += n
			sum := sha256.Sum256(page)
			if _, known := seen[sum]; !known {
				seen[sum] = struct{}{}
				c.Distinct += n
			}
		})
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// Stop pauses the guest on the source; the returned function lets it run on.
func (g *Guest) Stop(ctx context.Context) (resume func(context.Context) error, err error) {
	order := func(ctx context.Context, command string) error {
		m, err := g.Monitor(ctx)
		if err != nil {
			return err
		}
		defer m.Close()
		return m.Do(ctx, command, nil, nil)
	}
	return func(ctx context.Context) error { return order(ctx, "cont") }, order(ctx, "stop")
}

// eachPage calls yield for each page of the guest's memory on the source.
func (g *Guest) eachPage(ctx context.Context, yield func(page []byte)) error {
	ram, err := g.OpenRAM(ctx, g.lab.Source)
	if err != nil {
		return err
	}
	defer ram.Close()
	return ram.pages(yield)
}

// Differences returns how many bytes differ between the memories of two stopped QEMUs of one guest.
func Differences(a, b *RAM) (n int64, err error) {
	if len(a.Blocks) != len(b.Blocks) {
		return 0, fmt.Errorf("%d ram blocks against %d", len(a.Blocks), len(b.Blocks))
	}
	bufA, bufB := make([]byte, chunkBytes), make([]byte, chunkBytes)
	for i, x := range a.Blocks {
		y := b.Blocks[i]
		if x.Name != y.Name || x.Length != y.Length {
			return 0, fmt.Errorf("ram block %s of %d bytes against %s of %d", x.Name, x.Length, y.Name, y.Length)
		}
		for offset := int64(0); offset < x.Length; offset += chunkBytes {
			chunkA, err1 := a.read(x, offset, bufA)
			chunkB, err2 := b.read(y, offset, bufB)
			if err := errors.Join(err1, err2); err != nil {
				return n, err
			}
			n += countDifferent(chunkA, chunkB)
		}
	}
	return n, nil
}

func countDifferent(a, b []byte) (n int64) {
	if bytes.Equal(a, b) {
		return 0
	}
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}
