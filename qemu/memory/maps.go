package memory

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/scatter-vm/scatter/qemu/process"
)

// maxMaps bounds one memory map, in bytes.
const maxMaps = 64 << 20

// mapping is a line of a process' memory map.
type mapping struct {
	start, end uint64
	offset     uint64 // into the file
	readable   bool
	shared     bool
	file       bool // backed by a file, which shared anonymous and huge pages are too
}

// mappings reads the memory map of a process. A refusal is an *AccessError.
func mappings(pid int) ([]mapping, error) {
	b, err := process.ReadFile(pid, "maps", maxMaps)
	if isRefusal(err) {
		return nil, &AccessError{PID: pid, Op: "read its map", Err: err}
	}
	if err != nil {
		return nil, err
	}
	return parseMappings(string(b))
}

// parseMappings reads lines such as
//
//	7f342ae00000-7f342be00000 rw-p 00000000 00:00 0    /path
func parseMappings(text string) ([]mapping, error) {
	var all []mapping
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 || len(f[1]) < 4 {
			return nil, fmt.Errorf("memory map line %.80q", line)
		}
		first, last, _ := strings.Cut(f[0], "-")
		m := mapping{readable: f[1][0] == 'r', shared: f[1][3] == 's', file: f[4] != "0"}
		if err := errors.Join(hex(first, &m.start), hex(last, &m.end), hex(f[2], &m.offset)); err != nil {
			return nil, fmt.Errorf("memory map line %.80q: %w", line, err)
		}
		all = append(all, m)
	}
	return all, nil
}

func isRefusal(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES)
}

func hex(s string, v *uint64) error {
	n, err := strconv.ParseUint(s, 16, 64)
	*v = n
	return err
}
