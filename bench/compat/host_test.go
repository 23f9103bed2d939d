//go:build lab

package compat

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/cache"
	"github.com/scatter-vm/scatter/bench/lab/witness"
)

// host is one end: a directory of its own, and on a target a receiver.
type host struct {
	name string
	dir  string // $LOCAL
	run  string // sockets and journals of scatter
	addr string // of the receiver

	recv *program
}

func newHost(row, name string) (*host, error) {
	h := &host{name: name, dir: filepath.Join(row, name), run: filepath.Join(row, name+"-run")}
	return h, errors.Join(os.MkdirAll(h.dir, 0o755), os.MkdirAll(h.run, 0o700))
}

// program is a process that goes on until it is ended.
type program struct {
	cmd    *exec.Cmd
	out    lab.Buffer
	exited chan struct{}
}

func start(argv ...string) (*program, error) {
	p := &program{cmd: exec.Command(argv[0], argv[1:]...), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.WaitDelay = &p.out, &p.out, time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // how it ended is asked from ProcessState
	}()
	return p, nil
}

func (p *program) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

func (p *program) end(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s) // it may have ended
	<-p.exited
}

// hide runs a command to which a directory is empty, and a file, if one is named, not there.
const hide = `mount -t tmpfs none "$0" && { [ -z "$1" ] || mount --bind /dev/null "$1"; } && shift && exec "$@"`

// receive starts a receiver. What it may open is all that the row has.
func (h *host) receive(ctx context.Context, row string, source *host, qemu, hides string, args ...string) error {
	argv := []string{world.program, "recv", "--json", "--name", h.name, "--listen", "127.0.0.1:0", "--interface", "lo", "--tls-dir", tlsDir(h.name),
		"--run-dir", h.run, "--rewrite", source.dir + "=" + h.dir, "--allow-path", row, "--allow-path", "/usr/share", "--allow-network"}
	if qemu != "" {
		argv = append(argv, "--qemu", qemu)
	}
	argv = append(argv, args...)
	argv = append([]string{"unshare", "-m", "sh", "-c", hide, source.dir, hides}, argv...)
	var err error
	if h.recv, err = start(argv...); err != nil {
		return err
	}
	return await(ctx, "recv on "+h.name, func() error {
		for line := range strings.Lines(h.recv.out.String()) {
			var ready struct{ Type, Addr string }
			if json.Unmarshal([]byte(line), &ready) == nil && ready.Type == "ready" {
				h.addr = ready.Addr
				return nil
			}
		}
		return errors.New(h.recv.out.String())
	})
}

// dismiss ends a target: first its QEMUs, so that the receiver sees them end.
func (h *host) dismiss() {
	for _, pid := range h.qemus() {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
	if h.recv != nil {
		h.recv.end(syscall.SIGTERM)
	}
}

// qemus returns the processes whose monitor is in the host's run directory.
func (h *host) qemus() (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(b), "unix:"+h.run+"/") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// copyFiles gives a host those of another, but for some.
func (h *host) copyFiles(from *host, lacks []string) error {
	return filepath.WalkDir(from.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from.dir, path)
		if err != nil || !e.Type().IsRegular() || slices.Contains(lacks, rel) {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(h.dir, rel), b, 0o644)
	})
}

// await calls look until it returns nil, and returns its last error when ctx ends first.
func await(ctx context.Context, what string, look func() error) error {
	for {
		err := look()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// vm is one on the source.
type vm struct {
	name    string
	qmp     string
	program *program
	monitor *witness.Monitor // the test's
	held    *witness.Monitor // the one that scatter is told, if the test keeps it busy
}

// oldQEMU is where bench/setup.sh keeps QEMU 7.2.
func oldQEMU() (string, error) {
	dir, err := cache.Dir()
	if err != nil {
		return "", err
	}
	for _, path := range []string{"qemu-7.2/usr/bin/qemu-system-x86_64", "qemu-7.2/qemu-system-x86_64"} {
		if p := filepath.Join(dir, path); isFile(p) {
			return p, nil
		}
	}
	return "", fmt.Errorf("no QEMU 7.2 below %s", dir)
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

// emulator returns the program of a version.
func emulator(version string) (string, error) {
	if version == "" {
		return "/usr/bin/qemu-system-x86_64", nil
	}
	return oldQEMU()
}

// baseOptions are those that a row does not replace.
func baseOptions(options []string) []string {
	base := []string{"-nodefaults", "-no-user-config", "-display", "none"}
	for _, o := range [][]string{{"-M", "pc"}, {"-accel", "tcg"}, {"-m", "32"}} {
		if !slices.Contains(options, o[0]) {
			base = append(base, o...)
		}
	}
	return base
}

// startVM starts a VM on h and returns once it answers.
func (h *host) startVM(ctx context.Context, name, version string, options []string) (*vm, error) {
	qemu, err := emulator(version)
	if err != nil {
		return nil, err
	}
	v := &vm{name: name, qmp: filepath.Join(h.run, name+".qmp")}
	monitor := filepath.Join(h.run, name+".lab")
	argv := append([]string{qemu, "-name", "guest=" + name}, baseOptions(options)...)
	argv = append(argv, "-qmp", "unix:"+v.qmp+",server=on,wait=off", "-chardev", "socket,id=lab,server=on,wait=off,path="+monitor,
		"-mon", "chardev=lab,mode=control",
		"-chardev", "socket,id=lab-fd,server=on,wait=off,path="+filepath.Join(h.run, name+".fd"), "-mon", "chardev=lab-fd,mode=control")
	if v.program, err = start(append(argv, options...)...); err != nil {
		return nil, err
	}
	err = await(ctx, name+"'s monitor", func() error {
		if v.program.ended() {
			return nil
		}
		v.monitor, err = witness.Dial(ctx, monitor)
		return err
	})
	if err == nil && v.monitor == nil {
		err = fmt.Errorf("QEMU ended: %s", v.program.out.String())
	}
	return v, err
}

// ends waits for the QEMU to end, and tells whether it has.
func (v *vm) ends(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	select {
	case <-v.program.exited:
		return true
	case <-ctx.Done():
		return false
	}
}

func (v *vm) end() {
	if v.monitor != nil {
		v.monitor.Close()
	}
	if v.held != nil {
		v.held.Close()
	}
	v.program.end(syscall.SIGKILL)
}

// lines reads JSON objects, one a line; other lines are passed over.
func lines[T any](b []byte) (all []T) {
	s := bufio.NewScanner(strings.NewReader(string(b)))
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var v T
		if json.Unmarshal(s.Bytes(), &v) == nil {
			all = append(all, v)
		}
	}
	return all
}
