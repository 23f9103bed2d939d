package lan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A lab's namespaces and its directory are called PREFIX-PID-START-NUMBER; PID and START, the time at which the kernel
// started the process, tell whether its maker still lives.
const (
	prefix    = "scatterlab"
	parentDir = "/tmp" // short, because it starts the path of many a socket
)

// ownName returns the part of the names that identifies this process.
func ownName() (string, error) {
	start, err := startTime(os.Getpid())
	return fmt.Sprintf("%s-%d-%s", prefix, os.Getpid(), start), err
}

// startTime returns when a process was started, in the kernel's own unit.
func startTime(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is the program's name in brackets and may hold anything; the start is field 22.
	_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return "", fmt.Errorf("process %d: stat too short", pid)
	}
	return fields[19], nil
}

// stale reports whether name belongs to a lab whose maker has died.
func stale(name string) bool {
	parts := strings.Split(name, "-")
	if len(parts) < 4 || parts[0] != prefix {
		return false
	}
	pid, err := strconv.Atoi(parts[1])
	if err != nil {
		return false
	}
	start, err := startTime(pid)
	return err != nil || start != parts[2]
}

// Sweep removes the switches that dead processes have left: their processes, namespaces and directories.
func Sweep(ctx context.Context) error {
	names, err := namespaces(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if stale(name) {
			errs = append(errs, removeNamespace(ctx, name))
		}
	}
	dirs, err := filepath.Glob(filepath.Join(parentDir, prefix+"-*"))
	errs = append(errs, err)
	for _, dir := range dirs {
		if stale(filepath.Base(dir)) {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// namespaces returns the names of all network namespaces.
func namespaces(ctx context.Context) ([]string, error) {
	out, err := run(ctx, "ip", "-j", "netns", "list")
	if err != nil || len(strings.TrimSpace(out)) == 0 {
		return nil, err
	}
	var list []struct{ Name string }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("list of namespaces: %w", err)
	}
	names := make([]string, len(list))
	for i, ns := range list {
		names[i] = ns.Name
	}
	return names, nil
}

// removeNamespaces removes all namespaces whose name starts with start.
func removeNamespaces(ctx context.Context, start string) error {
	names, err := namespaces(ctx)
	errs := []error{err}
	for _, name := range names {
		if strings.HasPrefix(name, start) {
			errs = append(errs, removeNamespace(ctx, name))
		}
	}
	return errors.Join(errs...)
}

// removeNamespace kills all processes in a namespace and removes it.
func removeNamespace(ctx context.Context, name string) error {
	for {
		pids, err := processesIn(ctx, name)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(5 * time.Millisecond)
	}
	_, err := run(ctx, "ip", "netns", "delete", name)
	return err
}

// processesIn returns the processes in a namespace that are more than a zombie.
func processesIn(ctx context.Context, namespace string) ([]int, error) {
	out, err := run(ctx, "ip", "netns", "pids", namespace)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, field := range strings.Fields(out) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("process in %s: %w", namespace, err)
		}
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && exe != "" {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
