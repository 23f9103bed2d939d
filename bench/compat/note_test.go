//go:build lab

package compat

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
)

// missing says what this machine lacks, "" if nothing.
func (n Need) missing() string {
	switch n {
	case NeedsNothing:
		return ""
	case NeedsOldQEMU:
		if _, err := oldQEMU(); err != nil {
			return err.Error()
		}
		return ""
	case NeedsTPM:
		if _, err := exec.LookPath("swtpm"); err != nil {
			return err.Error()
		}
		return ""
	case NeedsSpice:
		out, err := exec.Command("qemu-system-x86_64", "-device", "help").Output()
		if err != nil || !strings.Contains(string(out), "qxl") {
			return "this QEMU has no spice"
		}
		return ""
	case NeedsHuge:
		return hugePages()
	}
	if _, err := os.Stat(string(n)); err != nil {
		return err.Error()
	}
	return ""
}

// hugePages says what is missing of the pages that two VMs of 32 MiB take.
func hugePages() string {
	b, err := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	if err != nil {
		return err.Error()
	}
	var free int
	if _, err := fmt.Sscan(string(b), &free); err != nil || free < 32 {
		return fmt.Sprintf("%d huge pages are free, 32 are needed", free)
	}
	return ""
}

// notes are lines about rows that have failed.
var notes struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func note(p Part, r Row, seen string, err error) {
	why := ""
	if err != nil {
		why = strings.Join(strings.Fields(err.Error()), " ")
	}
	if len(why) > 400 {
		why = why[:400] + "..."
	}
	notes.mu.Lock()
	defer notes.mu.Unlock()
	notes.lines = append(notes.lines, fmt.Sprintf("[%s] %s | expected: %s %s | seen: %s | %s", p.Title, r.Name, r.Verdict, r.Words, seen, why))
}

// writeList writes the notes to the file that -list names.
func writeList() error {
	notes.mu.Lock()
	defer notes.mu.Unlock()
	if *list == "" {
		return nil
	}
	slices.Sort(notes.lines)
	return os.WriteFile(*list, []byte(strings.Join(notes.lines, "\n")+"\n"), 0o644)
}
