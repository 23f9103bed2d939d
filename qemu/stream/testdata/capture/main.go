// Command capture records migration streams of a QEMU binary for the tests of package stream.
//
//	go run ./qemu/stream/testdata/capture -qemu qemu-system-x86_64 -out qemu/stream/testdata
//	go run ./qemu/stream/testdata/capture -qemu /old/qemu-system-x86_64 -L /old/share/qemu -L /usr/share/seabios ...
//	python3 qemu/stream/testdata/summary.py qemu/stream/testdata/*.qevm.gz
//
// It plays the target: it listens on a unix socket, lets QEMU migrate to it, records all bytes until the source is
// quiet, and answers SHUT. Each case becomes NAME-VERSION.qevm.gz. The second command writes the golden summaries, with
// a parser that shares nothing with this package. No KVM is needed; the guests are 16 MiB and mostly empty.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

type dirs []string

func (d *dirs) String() string     { return fmt.Sprint(*d) }
func (d *dirs) Set(s string) error { *d = append(*d, s); return nil }

func main() {
	log.SetFlags(0)
	qemu := flag.String("qemu", "qemu-system-x86_64", "QEMU binary")
	out := flag.String("out", ".", "folder for the captures")
	only := flag.String("only", "", "record this case only")
	var data dirs
	flag.Var(&data, "L", "folder with firmware, may be repeated")
	flag.Parse()
	if err := run(*qemu, *out, *only, data); err != nil {
		log.Fatal(err)
	}
}

func run(qemu, out, only string, data dirs) error {
	dir, err := os.MkdirTemp("", "capture")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "bios"), dirtier(), 0o600); err != nil {
		return err
	}
	version, err := binaryVersion(qemu)
	if err != nil {
		return err
	}
	for _, c := range cases {
		if (only != "" && c.name != only) || !c.fits(version) {
			continue
		}
		b, err := c.record(qemu, dir, data)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		file := filepath.Join(out, c.name+"-"+version+".qevm.gz")
		if err := writeGzip(file, b); err != nil {
			return err
		}
		log.Printf("%s: %d bytes", file, len(b))
	}
	return nil
}

// binaryVersion returns major and minor of QEMU, as 10.0.
func binaryVersion(qemu string) (string, error) {
	b, err := exec.Command(qemu, "--version").Output()
	if err != nil {
		return "", err
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(b), "QEMU emulator version %d.%d", &major, &minor); err != nil {
		return "", fmt.Errorf("version of %s: %w", qemu, err)
	}
	return fmt.Sprintf("%d.%d", major, minor), nil
}

func writeGzip(file string, b []byte) error {
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(file, z.Bytes(), 0o644)
}

// dirtier is a firmware of 64 KiB that counts in the first word of 128 pages for ever:
//
//	start: mov ax, 0x1000
//	page:  mov ds, ax
//	       inc word [0]
//	       add ax, 0x100
//	       cmp ax, 0x9000
//	       jb page
//	       jmp start
func dirtier() []byte {
	rom := make([]byte, 64<<10)
	copy(rom[0xe000:], []byte{
		0xb8, 0x00, 0x10, 0x8e, 0xd8, 0xff, 0x06, 0x00, 0x00, 0x05, 0x00, 0x01, 0x3d, 0x00, 0x90, 0x72, 0xf2, 0xeb, 0xed,
	})
	copy(rom[0xfff0:], []byte{0xea, 0x00, 0xe0, 0x00, 0xf0})
	return rom
}

// record runs the case and returns the bytes that the source sent on its main channel.
func (c *scenario) record(qemu, dir string, data dirs) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	args := []string{"-nodefaults", "-display", "none", "-m", "16", "-qmp", "unix:" + filepath.Join(dir, "qmp") + ",server=on,wait=off"}
	if !c.seabios {
		args = append(args, "-bios", filepath.Join(dir, "bios"))
	}
	for _, d := range data {
		args = append(args, "-L", d)
	}
	cmd := exec.CommandContext(ctx, qemu, append(args, c.args...)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	m, err := dialMonitor(ctx, filepath.Join(dir, "qmp"))
	if err != nil {
		return nil, err
	}
	defer m.Close()
	return c.migrate(ctx, m, filepath.Join(dir, "mig"))
}

func (c *scenario) migrate(ctx context.Context, m *monitor, path string) ([]byte, error) {
	if c.warmup > 0 {
		time.Sleep(c.warmup)
	}
	for _, s := range c.before {
		if err := m.do(s.command, s.arguments, nil); err != nil {
			return nil, err
		}
	}
	os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if err := c.start(m, path); err != nil {
		return nil, err
	}
	t := &target{}
	go t.serve(l)
	if c.postcopy {
		time.Sleep(400 * time.Millisecond)
		if err := m.do("migrate-start-postcopy", nil, nil); err != nil {
			return nil, err
		}
	}
	return t.wait(ctx, m)
}

// start sets the capabilities and parameters and begins the migration.
func (c *scenario) start(m *monitor, path string) error {
	var caps []any
	for _, name := range append([]string{"events"}, c.caps...) {
		caps = append(caps, object{"capability": name, "state": true})
	}
	if err := m.do("migrate-set-capabilities", object{"capabilities": caps}, nil); err != nil {
		return err
	}
	if c.params != nil {
		if err := m.do("migrate-set-parameters", c.params, nil); err != nil {
			return err
		}
	}
	arguments := object{"uri": "unix:" + path}
	for k, v := range c.migrateArgs {
		arguments[k] = v
	}
	return m.do("migrate", arguments, nil)
}

// target records what comes on the first connection and lets further ones run empty.
type target struct {
	mu    sync.Mutex
	conn  net.Conn
	bytes []byte
	last  time.Time
	eof   bool
}

func (t *target) serve(l net.Listener) {
	for first := true; ; first = false {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if first {
			t.conn = c
			go t.read(c)
		} else {
			go io.Copy(io.Discard, c)
		}
	}
}

func (t *target) read(c net.Conn) {
	b := make([]byte, 64<<10)
	for {
		n, err := c.Read(b)
		t.mu.Lock()
		t.bytes = append(t.bytes, b[:n]...)
		t.last = time.Now()
		t.eof = err != nil
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// wait returns the bytes once the source has closed, or is past its last page and silent. It answers SHUT then.
func (t *target) wait(ctx context.Context, m *monitor) ([]byte, error) {
	for ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
		var vm struct{ Status string }
		if err := m.do("query-status", nil, &vm); err != nil {
			return nil, err
		}
		t.mu.Lock()
		quiet := !t.last.IsZero() && time.Since(t.last) > 500*time.Millisecond
		b, eof := t.bytes, t.eof
		t.mu.Unlock()
		if eof {
			return b, nil
		}
		if quiet && (vm.Status == "finish-migrate" || vm.Status == "postmigrate") {
			_, err := t.conn.Write([]byte{0, 1, 0, 4, 0, 0, 0, 0})
			return b, err
		}
	}
	return nil, errors.New("source did not finish")
}
