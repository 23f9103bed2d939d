package kit

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/scatter-vm/scatter/qemu"
)

// LiveQEMU is a real QEMU of a test: firmware, no operating system.
type LiveQEMU struct {
	T      *testing.T
	Socket string
	Cmd    *exec.Cmd
	Wait   func() error // for its end
	Client *qemu.Client
}

// SocketDir is a temporary directory with a short path, for sockets.
func SocketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// StartQEMU starts a QEMU whose monitor is NAME.qmp in dir.
func StartQEMU(t *testing.T, dir, name string, args ...string) *LiveQEMU {
	t.Helper()
	q := &LiveQEMU{T: t, Socket: filepath.Join(dir, name+".qmp")}
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	q.Cmd = exec.Command("qemu-system-x86_64", append([]string{"-M", "pc", "-m", "16", "-nodefaults", "-display", "none", "-accel", "tcg",
		"-name", "guest=" + name, "-qmp", "unix:" + q.Socket + ",server=on,wait=off"}, args...)...)
	q.Cmd.Stderr = log
	if err := q.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	q.Wait = sync.OnceValue(q.Cmd.Wait)
	t.Cleanup(func() {
		q.Cmd.Process.Kill()
		q.Wait()
	})
	Eventually(t, func() bool { q.Client, err = qemu.Dial(t.Context(), q.Socket); return err == nil })
	t.Cleanup(func() { q.Client.Close() })
	return q
}

// Do executes a command.
func (q *LiveQEMU) Do(cmd string, args any) {
	q.T.Helper()
	if err := q.Client.Do(q.T.Context(), cmd, args, nil); err != nil {
		q.T.Fatal(err)
	}
}

// Status is the VM's run state.
func (q *LiveQEMU) Status() string {
	q.T.Helper()
	s, err := q.Client.Status(q.T.Context())
	if err != nil {
		q.T.Fatal(err)
	}
	return s.Status
}

// Image makes a raw disk image.
func Image(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	WriteFile(t, path, make([]byte, 1<<20))
	return path
}

// RealQEMU is the QEMU that tests start.
const RealQEMU = "/usr/bin/qemu-system-x86_64"

// RealVM starts a QEMU whose guest does not run and returns its monitor's socket.
func RealVM(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := os.Stat(RealQEMU); err != nil {
		t.Fatalf("QEMU is needed: apt-get install qemu-system-x86 (%v)", err)
	}
	named := []string{"-name", "guest=" + name}
	if name == "" {
		name, named = "vm", nil
	}
	socket := filepath.Join(ShortDir(t), name+".qmp")
	args = slices.Concat(named, []string{"-nodefaults", "-display", "none", "-net", "none", "-S",
		"-qmp", "unix:" + socket + ",server=on,wait=off"}, args)
	cmd := exec.Command(RealQEMU, args...)
	var said LogBook
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait()
	}()
	t.Cleanup(func() { cmd.Process.Kill(); <-ended })
	Eventually(t, func() bool {
		select {
		case <-ended:
			t.Fatal(said.String())
		default: // what it says meanwhile is a warning
		}
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return socket
}

// ShortDir is a temporary directory whose path leaves room for the names of sockets.
func ShortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "st")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// DiskIn makes an empty disk image.
func DiskIn(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Drive are the options of a disk.
func Drive(path string) []string {
	return []string{"-drive", "file=" + path + ",format=raw,if=none,id=d0,node-name=n0", "-device", "virtio-blk-pci,drive=d0"}
}
