package image

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu/confine"
	"github.com/scatter-vm/scatter/qemu/process"
)

// Qcow2 is how an image of that format is made, in QEMU's words.
type Qcow2 struct {
	Cluster       int // bytes
	Compat        string
	LazyRefcounts bool
	RefcountBits  int
	ExtendedL2    bool
	Compression   string // "" = zlib
}

// Check refuses what is none of QEMU's words.
func (q Qcow2) Check() error {
	switch {
	case bits.OnesCount(uint(q.Cluster)) != 1 || q.Cluster < 512 || q.Cluster > 2<<20:
		return fmt.Errorf("clusters of %d bytes", q.Cluster)
	case q.Compat != "0.10" && q.Compat != "1.1":
		return fmt.Errorf("compat %.16q", q.Compat)
	case bits.OnesCount(uint(q.RefcountBits)) != 1 || q.RefcountBits > 64:
		return fmt.Errorf("refcounts of %d bits", q.RefcountBits)
	case !slices.Contains([]string{"", "zlib", "zstd"}, q.Compression):
		return fmt.Errorf("compression %.16q", q.Compression)
	}
	return nil
}

// options are those of qemu-img create.
func (q Qcow2) options() string {
	all := []string{"cluster_size=" + strconv.Itoa(q.Cluster), "compat=" + q.Compat}
	if q.Compat != "0.10" { // which knows none of these
		all = append(all, "lazy_refcounts="+onOff(q.LazyRefcounts), "refcount_bits="+strconv.Itoa(q.RefcountBits), "extended_l2="+onOff(q.ExtendedL2))
		if q.Compression != "" {
			all = append(all, "compression_type="+q.Compression)
		}
	}
	return strings.Join(all, ",")
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// Programs are what this package starts.
var Programs = []string{"qemu-img", "qemu-nbd"}

// Missing names those that are not on this host.
func Missing() (names []string) {
	for _, name := range Programs {
		if _, err := exec.LookPath(name); err != nil {
			names = append(names, name)
		}
	}
	return names
}

// inherited is the name of a file that a program gets as the n-th one: of that very file, whatever lies where it was opened by now.
func inherited(n int) string { return fmt.Sprintf("/proc/self/fd/%d", 3+n) }

// Backing is an image below another one.
type Backing struct{ Path, Format string }

// Check refuses what cannot be below an image here.
func (b Backing) Check() error {
	if b.Format != "raw" && b.Format != "qcow2" {
		return fmt.Errorf("backing file %.256s: format %.16q", b.Path, b.Format)
	}
	return nil
}

// Create makes an image of so many bytes in a file that is empty. It reads as zero, or as the first of those that are below it.
func Create(ctx context.Context, file *os.File, bytes int64, q Qcow2, below ...Backing) error {
	err := q.Check()
	for _, b := range below {
		err = errors.Join(err, b.Check())
	}
	if err != nil {
		return err
	}
	binary, err := exec.LookPath("qemu-img")
	if err != nil {
		return err
	}
	words, err := scratch()
	if err != nil {
		return err
	}
	defer words.Close()
	c := confine.Confinement{Binary: binary, Write: []string{file.Name()}}
	argv := []string{binary, "create", "-q", "-f", "qcow2", "-o", q.options()}
	if len(below) > 0 {
		argv = append(argv, "-u", "-b", below[0].Path, "-F", below[0].Format)
	}
	child, err := process.Start(ctx, process.Program{Bound: true, Log: words, Files: []*os.File{file}, Confine: c.Enter,
		Argv: append(argv, inherited(0), strconv.FormatInt(bytes, 10))})
	if err != nil {
		return err
	}
	if err := child.Wait(ctx); err != nil {
		child.Kill()
		<-child.Exited()
		return explain("qemu-img", err, words)
	}
	return nil
}

// scratch is a file for the words of a program, which goes when it is closed.
func scratch() (*os.File, error) {
	fd, err := unix.MemfdCreate("words", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "words"), nil
}

// explain says how a program has ended, in its words.
func explain(program string, err error, words *os.File) error {
	if tail := process.LogTail(fmt.Sprintf("/proc/self/fd/%d", words.Fd())); tail != "" {
		return fmt.Errorf("%s: %w: %s", program, err, tail)
	}
	return fmt.Errorf("%s: %w", program, err)
}
