package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/scatter/pki"
)

var anyIPv4 = netip.IPv4Unspecified()

// scene is the lab and what all transfers share.
type scene struct {
	lab     *lab.Lab
	dir     string // in memory: the payload, and what arrives
	mounted bool
	own     string
	sizeOf  func(cell) int64
	shaped  float64 // Mbit/s, of all links now; -1 = not arranged yet
	losing  cell    // whose loss, and slow target, there is now
	crowd   crowd
}

// newScene builds a lab for all the jobs of o.
func newScene(ctx context.Context, o *options) (s *scene, err error) {
	s = &scene{sizeOf: o.sizeOf, shaped: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	most := 0
	for _, j := range o.jobs() {
		most = max(most, j.Targets)
	}
	if s.own, err = os.Executable(); err != nil {
		return s, err
	}
	if s.dir, err = os.MkdirTemp("", "scatter-bench-"); err != nil {
		return s, err
	}
	if err = s.mount(); err != nil {
		return s, err
	}
	if s.lab, err = lab.New(ctx, lab.Config{Targets: most}); err != nil {
		return s, err
	}
	return s, s.certify()
}

// mount puts memory under the directory: in large pages if the kernel has them, like the memory that QEMU gets for its guests.
func (s *scene) mount() error {
	err := unix.Mount("scatter-bench", s.dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,huge=always")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("scatter-bench", s.dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755")
	}
	s.mounted = err == nil
	return os.NewSyscallError("mount", err)
}

// payload gives a file of random bytes.
func (s *scene) payload(size int64) (path string, err error) {
	path = filepath.Join(s.dir, fmt.Sprintf("payload-%d", size))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	_, err = io.CopyN(f, rand.Reader, size)
	return path, errors.Join(err, f.Close())
}

func (s *scene) tls() string { return filepath.Join(s.lab.Dir, "tls") }

// certify gives each host a certificate.
func (s *scene) certify() error {
	ca := filepath.Join(s.lab.Dir, "ca")
	if err := pki.Init(ca); err != nil {
		return err
	}
	for _, h := range s.lab.Switch.Hosts() {
		if err := pki.Issue(ca, h.Name, []netip.Addr{h.Addr}, filepath.Join(s.tls(), h.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (s *scene) close() error {
	err := s.crowd.close()
	if s.lab != nil {
		err = errors.Join(err, s.lab.Close())
	}
	if s.mounted {
		err = errors.Join(err, os.NewSyscallError("unmount", unix.Unmount(s.dir, unix.MNT_DETACH)))
	}
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// arrange makes the links those of a cell.
func (s *scene) arrange(ctx context.Context, c cell) error {
	for _, h := range s.lab.Switch.Hosts() {
		if s.shaped != c.Mbit || s.losing.Slow {
			if err := h.SetRate(ctx, int64(c.Mbit*1e6)); err != nil {
				return err
			}
		}
		if h != s.lab.Source && s.losing.loss() != c.loss() {
			if err := h.SetLoss(ctx, c.loss()); err != nil {
				return err
			}
		}
	}
	if s.shaped != c.Mbit {
		// Where links are shaped, the queues already keep the switch's work from the sender.
		if err := s.lab.Source.WorkApart(ctx, c.Mbit == 0); err != nil {
			return err
		}
	}
	s.shaped, s.losing = c.Mbit, c
	if c.Slow {
		return s.lab.Targets[c.Targets-1].SetRate(ctx, int64(c.Mbit*slowPart*1e6))
	}
	return nil
}

// settle is how long the switch takes to learn that groups were left and joined.
const settle = 300 * time.Millisecond

// measure does one transfer. A tool that fails to deliver is a result, too; the error is about measuring itself.
func (s *scene) measure(ctx context.Context, j job) (sample, error) {
	if err := errors.Join(s.arrange(ctx, j.cell), s.crowd.resize(s.own, j.Busy)); err != nil {
		return sample{}, err
	}
	size := s.sizeOf(j.cell)
	path, err := s.payload(size)
	if err != nil {
		return sample{}, err
	}
	tool := toolNamed(j.tool)
	t := transfer{cell: j.cell, source: s.lab.Source, targets: s.lab.Targets[:j.Targets], payload: path, size: size,
		dir: filepath.Join(s.dir, "arrived", j.tool), own: s.own, tls: s.tls()}
	if tool.shares {
		t.size /= int64(j.Targets)
	}
	for i := range t.targets {
		if err := prepare(tool, t, i); err != nil {
			return sample{}, err
		}
	}
	m := sample{cell: j.cell, Tool: j.tool, Size: t.size}
	limited, cancel := context.WithTimeout(ctx, patience(t))
	defer cancel()
	err = m.take(limited, tool, t)
	if ctx.Err() != nil {
		return m, context.Cause(ctx)
	}
	if err == nil {
		err = s.compare(tool, t)
	}
	if err != nil {
		m = sample{cell: j.cell, Tool: j.tool, Size: t.size, Failed: err.Error()}
	}
	return m, nil
}

// prepare makes the place for what will arrive at a target: a file full of zeros for tools that write over it, because memory that the
// machine has never touched is slower to get than to fill; none for the others.
func prepare(tool *tool, t transfer, i int) error {
	path := filepath.Join(t.dirOf(i), tool.file)
	if !tool.reuses {
		if err := os.RemoveAll(t.dirOf(i)); err != nil {
			return err
		}
		return os.MkdirAll(t.dirOf(i), 0o755)
	}
	if err := os.MkdirAll(t.dirOf(i), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < t.size && err == nil; at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), t.size-at)], at)
	}
	return errors.Join(err, f.Truncate(t.size), f.Close())
}

// patience is how long a transfer may take: it should take an eighth, and some seconds more.
func patience(t transfer) time.Duration {
	rate := t.Mbit * 1e6 / 8
	if rate == 0 {
		rate = 100e6
	}
	if t.Slow {
		rate *= slowPart
	}
	return 10*time.Second + time.Duration(8*float64(t.size)/rate*float64(time.Second))
}

// compare wants what has arrived to be what was sent.
func (s *scene) compare(tool *tool, t transfer) error {
	for i, h := range t.targets {
		if err := same(t.payload, filepath.Join(t.dirOf(i), tool.file), t.size); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	return nil
}

func same(want, got string, size int64) error {
	a, err := os.Open(want)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := os.Open(got)
	if err != nil {
		return err
	}
	defer b.Close()
	if info, err := b.Stat(); err != nil || info.Size() != size {
		return fmt.Errorf("%s: not %d bytes: %w", got, size, err)
	}
	x, y := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(x)) {
		n := min(int64(len(x)), size-at)
		if _, err := a.ReadAt(x[:n], at); err != nil {
			return err
		}
		if _, err := b.ReadAt(y[:n], at); err != nil {
			return err
		}
		if string(x[:n]) != string(y[:n]) {
			return fmt.Errorf("%s: differs from what was sent within %d bytes at %d", got, n, at)
		}
	}
	return nil
}
