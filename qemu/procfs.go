package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

const (
	maxCmdline  = 4 << 20  // bytes of one command line
	maxMaps     = 64 << 20 // bytes of one memory map
	maxProcFile = 64 << 10 // bytes of other files
)

// readProc reads a file of a process, at most limit bytes of it.
func readProc(pid int, file string, limit int64) ([]byte, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: longer than %d bytes", f.Name(), limit)
	}
	return b, err
}

// commandLine is the argument vector of a process.
func commandLine(pid int) ([]string, error) {
	b, err := readProc(pid, "cmdline", maxCmdline)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("process %d has no command line: it is ending, or not a program", pid)
	}
	return strings.Split(string(bytes.TrimSuffix(b, []byte{0})), "\x00"), nil
}

// StartTime tells two processes with the same pid apart: clock ticks from boot to the start of the process.
// StartTime is when a process began, in clock ticks since boot: it tells a reused pid apart.
func StartTime(pid int) (uint64, error) {
	b, err := readProc(pid, "stat", maxProcFile)
	if err != nil {
		return 0, err
	}
	return parseStartTime(string(b))
}

// parseStartTime reads field 22 of a stat file. Field 2 is the program's name in parentheses and may hold anything.
func parseStartTime(stat string) (uint64, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, errors.New("stat file: too few fields")
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

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
	b, err := readProc(pid, "maps", maxMaps)
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
		if err := errors.Join(parseHex(first, &m.start), parseHex(last, &m.end), parseHex(f[2], &m.offset)); err != nil {
			return nil, fmt.Errorf("memory map line %.80q: %w", line, err)
		}
		all = append(all, m)
	}
	return all, nil
}

func isRefusal(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES)
}
