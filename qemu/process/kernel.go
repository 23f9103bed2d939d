package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

const (
	maxCmdline  = 4 << 20  // bytes of one command line
	maxProcFile = 64 << 10 // bytes of other files
)

// ReadFile reads a file that the kernel has of a process, such as status, at most limit bytes of it.
func ReadFile(pid int, file string, limit int64) ([]byte, error) {
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

// CommandLine is the argument vector of a process.
func CommandLine(pid int) ([]string, error) {
	b, err := ReadFile(pid, "cmdline", maxCmdline)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("process %d has no command line: it is ending, or not a program", pid)
	}
	return strings.Split(string(bytes.TrimSuffix(b, []byte{0})), "\x00"), nil
}

// StartTime is when a process began, in clock ticks since boot: it tells a reused pid apart.
func StartTime(pid int) (uint64, error) {
	b, err := ReadFile(pid, "stat", maxProcFile)
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

// OwnsThread tells whether a thread belongs to a process. It says yes when the process lives in a pid namespace of its
// own, where threads have other numbers.
func OwnsThread(pid, thread int) bool {
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d", pid, thread)); err == nil {
		return true
	}
	status, err := ReadFile(pid, "status", maxProcFile)
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(status), "\nNSpid:")
	line, _, _ := strings.Cut(rest, "\n")
	return len(strings.Fields(line)) > 1
}
