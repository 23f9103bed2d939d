package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// PageBytes is the size of a page.
const PageBytes = 4096

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

// RAM opens the memory of a QEMU.
func (p Process) RAM(ctx context.Context) (*RAM, error) {
	m, err := p.Monitor(ctx)
	if err != nil {
		return nil, err
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
	file, err := os.Open(fmt.Sprintf("/proc/%d/mem", p))
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

// Pages calls yield for each page.
func (r *RAM) Pages(yield func(page []byte)) error {
	buf := make([]byte, chunkBytes)
	for _, b := range r.Blocks {
		for offset := int64(0); offset < b.Length; offset += chunkBytes {
			chunk, err := r.read(b, offset, buf)
			if err != nil {
				return err
			}
			for len(chunk) > 0 {
				n := min(len(chunk), PageBytes)
				yield(chunk[:n])
				chunk = chunk[n:]
			}
		}
	}
	return nil
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
