package quota

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/qemu/process"
)

// groupOf finds where a group for a thread can be made: below the one where the processor controller has it.
func groupOf(pid, thread int) (group, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return group{}, err
	}
	of, err := process.ReadFile(pid, fmt.Sprintf("task/%d/cgroup", thread), 64<<10)
	if err != nil {
		return group{}, err
	}
	g, err := find(string(mounts), string(of))
	if err != nil {
		return g, err
	}
	g.dir = filepath.Join(g.parent, fmt.Sprintf("scatter-%d", pid))
	if g.v2 {
		b, err := os.ReadFile(filepath.Join(g.parent, "cgroup.controllers"))
		if err != nil {
			return g, err
		}
		if !slices.Contains(strings.Fields(string(b)), "cpu") {
			return g, fmt.Errorf("control group %s has no processor controller", g.parent)
		}
	}
	return g, nil
}

// find finds the control group of a thread that the processor controller has it in, by the mounts of a host (proc_pid_mountinfo(5)) and the
// thread's own list (cgroups(7)): that of version 1 where one is mounted, for then version 2 has none.
func find(mountinfo, cgroups string) (g group, err error) {
	for _, line := range strings.Split(cgroups, "\n") {
		_, rest, _ := strings.Cut(line, ":")
		controllers, path, ok := strings.Cut(rest, ":")
		v2 := controllers == "" && strings.HasPrefix(line, "0:")
		if !ok || !v2 && !slices.Contains(strings.Split(controllers, ","), "cpu") {
			continue
		}
		at, ok := mountOf(mountinfo, v2, path)
		if ok && (g.parent == "" || !v2) {
			g = group{parent: at, v2: v2}
		}
	}
	if g.parent == "" {
		err = errors.New("no processor controller of control groups is mounted here")
	}
	return g, err
}

// mountOf finds the directory of a group in the mounts.
func mountOf(mountinfo string, v2 bool, path string) (dir string, ok bool) {
	for _, line := range strings.Split(mountinfo, "\n") {
		own, fs, _ := strings.Cut(line, " - ")
		at, kind := strings.Fields(own), strings.Fields(fs)
		if len(at) < 5 || len(kind) < 3 {
			continue
		}
		fits := v2 && kind[0] == "cgroup2" || !v2 && kind[0] == "cgroup" && slices.Contains(strings.Split(kind[2], ","), "cpu")
		below, inside := strings.CutPrefix(path, strings.TrimSuffix(at[3], "/"))
		if fits && inside {
			return filepath.Join(unescape(at[4]), below), true
		}
	}
	return "", false
}

// unescape is a path as mountinfo writes it.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
