package qemu

import (
	"os"
	"slices"
	"strconv"

	"github.com/scatter-vm/scatter/qemu/policy"
	"github.com/scatter-vm/scatter/qemu/process"
)

// Leftovers finds the processes of a VM that Launch was starting under this name in runDir when its caller was killed, before it
// could note their pid: those on whose command line is the pid file that LaunchPolicy.Command has put there.
func Leftovers(runDir, name string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	pidFile := policy.FilesOf(runDir, name).PID
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		argv, err := process.CommandLine(pid)
		if err != nil {
			continue // it has ended, or it is another user's
		}
		if i := slices.Index(argv, "-pidfile"); i >= 0 && i+1 < len(argv) && argv[i+1] == pidFile {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
