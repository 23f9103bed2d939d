package disk

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pageset"
)

// marks is a file with a bit for each page of a VM's disks: set as long as it is lacked. It is right at every moment but a crash of the host, so that
// whoever comes after a process that was killed writes nothing over what the guest has written.
type marks struct {
	file  *os.File
	words []int64 // where those of each disk begin, in bytes
	buf   []byte
}

func newMarks(name string, lacks *pageset.Set) (*marks, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("marks of disks: %w", err)
	}
	m := marksOf(f, lacks)
	for disk := range m.words {
		if err := m.note(lacks, disk, 0, lacks.Pages(disk)); err != nil {
			return nil, errors.Join(err, f.Close(), os.Remove(name))
		}
	}
	return m, nil
}

func marksOf(f *os.File, lacks *pageset.Set) *marks {
	m := &marks{file: f}
	at := int64(0)
	for disk := range lacks.Regions() {
		m.words = append(m.words, at)
		at += int64(pageset.Words(lacks.Pages(disk))) * 8
	}
	return m
}

// note writes down what is known of some pages.
func (m *marks) note(lacks *pageset.Set, disk int, first, n uint32) error {
	if n == 0 {
		return nil
	}
	const most = 4096 // words at a time
	for from, to := first/64, (first+n-1)/64+1; from < to; from += most {
		m.buf = lacks.AppendWords(m.buf[:0], disk, int(from), int(min(to, from+most)))
		if _, err := m.file.WriteAt(m.buf, m.words[disk]+int64(from)*8); err != nil {
			return fmt.Errorf("marks of disks: %w", err)
		}
	}
	return nil
}

// openMarks reads the marks that another process has kept, into a set of all pages there are.
func openMarks(name string, lacks *pageset.Set) (*marks, error) {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("marks of disks: %w", err)
	}
	m := marksOf(f, lacks)
	for disk, at := range m.words {
		b := make([]byte, pageset.Words(lacks.Pages(disk))*8)
		if _, err := f.ReadAt(b, at); err != nil {
			f.Close()
			return nil, fmt.Errorf("marks of disks: %s: %w", name, err)
		}
		lacks.AddWords(disk, b)
	}
	return m, nil
}

// sync makes them outlive a crash of the host.
func (m *marks) sync() error {
	if err := onFile(m.file, unix.Fdatasync); err != nil {
		return fmt.Errorf("marks of disks: %w", err)
	}
	return nil
}

func (m *marks) close() {
	if m != nil {
		m.file.Close()
	}
}

// freeMarks is what a VM may need to know which pages of its disks are there, without being charged for it, in bytes: 512 GiB of disks.
const freeMarks = 16 << 20

// MarksRoom is the room that is needed beyond that for disks that may follow their VM, in bytes.
func MarksRoom(disks []control.NewDisk) (sum int64) {
	for _, d := range disks {
		sum += min(max(0, d.Bytes), TooLarge) / (8 * model.PageSize)
	}
	return max(0, sum-freeMarks)
}
