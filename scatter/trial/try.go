package trial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/image"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// Bounds of the tries of one target.
const (
	tryPatience = 3 * time.Second // after which a try that waits for something, storage perhaps, lets the next one begin
	MaxTries    = 32              // under way at one time, those that wait included
)

// Trials starts QEMUs that no VM lives in, to see whether they start. They have a directory of their own, no name and no room, and do
// not outlive this process.
type Trials struct {
	policy   qemu.LaunchPolicy
	launcher string // "" = QEMUs are started by us
	runDir   string
	log      *slog.Logger

	dir    string
	turns  chan struct{} // held while a try may compute
	places chan struct{} // held while there is anything of it
	number atomic.Uint64
	sums   image.Sums // of backing files

	timeout, patience time.Duration // model.TryTimeout and tryPatience
}

// NewTrials makes the directory anew: there may be files in it of a receiver that was killed.
func NewTrials(policy qemu.LaunchPolicy, launcher, runDir string, log *slog.Logger) *Trials {
	t := &Trials{policy: policy, launcher: launcher, runDir: runDir, log: log, dir: filepath.Join(runDir, "tries"), turns: make(chan struct{}, runtime.NumCPU()), places: make(chan struct{}, MaxTries),
		timeout: model.TryTimeout, patience: tryPatience}
	_ = os.RemoveAll(t.dir) // qemu.Rehearse makes it, and says if it cannot
	return t
}

// Held is how many are under way.
func (t *Trials) Held() int { return len(t.places) }

// take waits for a place. The returned function gives it back.
func take(ctx context.Context, places chan struct{}) (give func(), err error) {
	select {
	case places <- struct{}{}:
		return sync.OnceFunc(func() { <-places }), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

var errSlow = fmt.Errorf("QEMU does not start within %v: it may wait for storage that does not answer", model.TryTimeout)

// Examine tells why a VM could not be started here; a *qemu.UntriedError if nothing is known against it, and it cannot be tried; a *NoPostCopyError if
// only post-copy does not work. shared are the VM's disks that are here already.
func (t *Trials) Examine(ctx context.Context, m control.Examine) (shared []int, err error) {
	turn, err := take(ctx, t.turns)
	if err != nil {
		return nil, err
	}
	defer turn()
	defer time.AfterFunc(t.patience, turn).Stop()
	place, err := take(ctx, t.places)
	if err != nil {
		return nil, err
	}
	ctx, cancel := system.WithFairTimeout(ctx, t.timeout, model.TryMost, errSlow)
	defer cancel()
	v := t.judgeWithin(ctx, m, place)
	if v.err != nil || v.try == nil {
		return v.shared, v.err
	}
	return v.shared, t.try(ctx, m, v.try, place)
}

// verdict is what is known of a VM without starting it.
type verdict struct {
	try    *qemu.Command // nil where there is to be none
	shared []int         // disks that are here already
	err    error         // why it may not be started
}

// judgeWithin is judge as long as ctx lasts. Not even a path can be looked at on dead storage, and nothing ends such a system call: then
// a goroutine is left behind that keeps the place. Otherwise the place is given back where there is nothing to try.
func (t *Trials) judgeWithin(ctx context.Context, m control.Examine, place func()) verdict {
	judged := make(chan verdict, 1)
	go func() { judged <- t.judge(m) }()
	select {
	case v := <-judged:
		if v.err != nil || v.try == nil {
			place()
		}
		return v
	case <-ctx.Done():
		go func() {
			<-judged
			place()
		}()
		return verdict{err: context.Cause(ctx)}
	}
}

// judge tells why a VM may not be started here, and gives the command of a try.
func (t *Trials) judge(m control.Examine) (v verdict) {
	if v.shared, v.err = t.lookAtDisks(m.Disks); v.err == nil {
		v.try, v.err = t.judgeCommand(m)
	}
	return v
}

func (t *Trials) judgeCommand(m control.Examine) (try *qemu.Command, err error) {
	if err := qemu.CheckName(m.Name); err != nil || t.launcher != "" {
		return nil, err
	}
	command, err := t.policy.Command(m.Argv, m.Name, t.runDir)
	if err == nil {
		err = sameFiles(t.policy.RewriteDisk, command.Argv, m.Written)
	}
	if err != nil {
		return nil, err
	}
	// A program that cannot be asked shows in the try that it does not start.
	if s, err := t.policy.Programs.Survey(context.Background(), command.Argv[0]); err == nil && !s.Machines[m.Machine] {
		return nil, fmt.Errorf("machine type %.64q: QEMU %s here does not have it", m.Machine, s.Version)
	}
	if len(m.Header) == 0 {
		return nil, nil // of a source that does not want it tried
	}
	if len(m.Disks) > 0 {
		return nil, &qemu.UntriedError{Option: "disk " + m.Disks[0].Path, Reason: "comes with it, and is not here yet"}
	}
	name := fmt.Sprintf("try-%d", t.number.Add(1))
	try, claims, err := t.policy.Rehearsal(m.Argv, name, t.dir)
	if err != nil {
		return nil, err
	}
	return try, claims.Taken()
}

// try starts the VM's QEMU, shows it the head of the VM's migration stream, looks at its processor, and ends it. Then it gives back
// the place.
func (t *Trials) try(ctx context.Context, m control.Examine, c *qemu.Command, place func()) error {
	t.log.Info("tried", "vm", m.Name)
	q, err := qemu.Rehearse(ctx, c)
	if err != nil {
		err = startError(ctx, err)
	} else if err = t.tryStream(ctx, q, m); q.End() {
		q = nil
	}
	if q == nil {
		place()
		return err
	}
	t.log.Warn("a QEMU that was tried does not end, it may wait for dead storage", "vm", m.Name, "pid", q.PID)
	go func() { // ends with the process
		<-q.Exited()
		place()
	}()
	return err
}

// startError is QEMU's own words about why it does not start.
func startError(ctx context.Context, err error) error {
	launch, ok := errors.AsType[*qemu.LaunchError](err)
	switch {
	case ok && launch.Tail != "":
		return fmt.Errorf("QEMU does not start: %s", launch.Tail)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case ok:
		return fmt.Errorf("QEMU does not start: %w", launch.Err)
	}
	return err
}

// tryStream shows a QEMU the head of a migration stream, and compares its processor to the source's.
func (t *Trials) tryStream(ctx context.Context, q *qemu.Process, m control.Examine) error {
	var without error
	if m.PostCopy {
		if err := q.Client.AllowPostcopy(ctx); err != nil {
			without = &NoPostCopyError{err}
			if m.Header, err = system.WithoutAdvise(m.Header); err != nil {
				return err
			}
		}
	}
	in, err := q.Client.MigrateIncoming(ctx)
	if err != nil {
		return err
	}
	defer in.Close()
	defer context.AfterFunc(ctx, func() { in.Close() })()
	if err := awaitPong(in, m.Header); err != nil {
		return streamError(ctx, q, err)
	}
	if err := compareCPU(ctx, q.Client, m.CPU); err != nil {
		return err
	}
	return without
}

// NoPostCopyError says that a VM could be started here, and would have to have all of its memory before it runs.
type NoPostCopyError struct{ Err error }

func (e *NoPostCopyError) Error() string { return e.Err.Error() }

func (e *NoPostCopyError) Unwrap() error { return e.Err }

// awaitPong writes the head of a stream and waits until QEMU has taken it: it has then accepted the machine type and the RAM blocks.
func awaitPong(in net.Conn, header []byte) error {
	if err := system.WriteHead(stream.NewWriter(in), header); err != nil {
		return err
	}
	for {
		m, err := stream.ReadReturn(in)
		if err != nil {
			return err
		}
		if m.Kind == stream.ReturnPong && m.Value == system.HeadPing {
			return nil
		}
	}
}

// streamError is QEMU's own words about why it does not take a stream.
func streamError(ctx context.Context, q *qemu.Process, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, system.LastWords)
	defer cancel()
	_ = q.Wait(ctx) // how it ended says less than what it wrote
	if tail := q.Tail(); tail != "" {
		return fmt.Errorf("QEMU does not take the VM: %s", tail)
	}
	return fmt.Errorf("QEMU does not take the head of the migration stream: %w", system.NoEOF(err))
}

// LacksError names what the source's processor offers to the guest, and the target's does not.
type LacksError struct {
	words []string // registers, with the bits that are missing
	Off   []string // switches of the processor here that are off
}

func (e *LacksError) Error() string {
	return "its processor lacks what the VM's has: " + strings.Join(e.words, ", ")
}

// compareCPU makes sure that a VM finds all that its processor has offered to it.
func compareCPU(ctx context.Context, c *qemu.Client, theirs []control.CPUWord) error {
	if len(theirs) == 0 {
		return nil
	}
	ours, err := c.CPUWords(ctx)
	if err != nil {
		return err
	}
	here := make(map[string]uint32)
	for _, w := range ours {
		here[w.Name()] = w.Features
	}
	var lacks LacksError
	for _, w := range theirs {
		name := qemu.CPUWord{EAX: w.EAX, ECX: w.ECX, Register: w.Register}.Name()
		if missing := w.Bits &^ here[name]; missing != 0 {
			lacks.words = append(lacks.words, fmt.Sprintf("%.40s %#x", name, missing))
		}
	}
	if len(lacks.words) == 0 {
		return nil
	}
	_, lacks.Off, err = c.CPUFlags(ctx)
	return errors.Join(err, &lacks)
}

// lookAtDisks makes sure that disks can be made, and that there is room for what is in them. shared are those that are here already.
func (t *Trials) lookAtDisks(disks []control.NewDisk) (shared []int, err error) {
	wanted := make(map[unix.Fsid]int64)
	for i, d := range disks {
		path, err := t.policy.NewFile(d.Path, t.runDir)
		if err != nil {
			return nil, err
		}
		if info, err := os.Lstat(path); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() && st.Ino == d.Inode {
				shared = append(shared, i)
				continue
			}
			return nil, fmt.Errorf("disk %.256s is here already, and is not the source's: it is not overwritten", path)
		}
		if err := t.LookBelow(d); err != nil {
			return nil, err
		}
		if missing := image.Missing(); d.Qcow2 != nil && len(missing) > 0 {
			return nil, fmt.Errorf("disk %.256s: qcow2 images are made by %s, which is not here", path, strings.Join(missing, " and "))
		}
		var there unix.Statfs_t
		if err := unix.Statfs(filepath.Dir(path), &there); err != nil {
			return nil, fmt.Errorf("disk %.256s: %w", path, err)
		}
		wanted[there.Fsid] += max(0, d.Data)
		if free := int64(there.Bavail) * there.Bsize; wanted[there.Fsid] > free {
			return nil, fmt.Errorf("disk %.256s: no space: %d MiB wanted, %d MiB free", path, wanted[there.Fsid]>>20, free>>20)
		}
	}
	return shared, nil
}

// LookBelow makes sure that the images below a disk are here, and hold what they hold on the source; of a disk that may not travel only that they are as long.
func (t *Trials) LookBelow(d control.NewDisk) error {
	ctx, cancel := context.WithTimeout(context.Background(), model.TryMost)
	defer cancel()
	for _, b := range d.Backing {
		path, err := t.policy.ReadFile(b.Path, t.runDir)
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("disk %.256s: no backing file %.256s is here", d.Path, path)
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		shared := ok && st.Ino == b.Inode // storage of the hosts
		if info.Size() == b.Bytes && (shared || d.Inode != 0 && len(b.Sum) == 0) {
			continue
		}
		sum, err := t.sums.Of(ctx, path)
		if err != nil {
			return fmt.Errorf("disk %.256s: backing file: %w", d.Path, err)
		}
		if !bytes.Equal(sum, b.Sum) {
			return fmt.Errorf("disk %.256s: backing file %.256s is here, and has other contents than on the source", d.Path, path)
		}
	}
	return nil
}

// sameFiles makes sure that a VM would go on to write to the files that it writes to on the source, and not to others that have their
// names here: a copy, or what an earlier VM has left. File systems that hosts share give a file one inode on all of them. Only files that
// the command line has opened are looked at, by their names here; of one that is not there QEMU tells.
func sameFiles(rewrite func(string) string, command []string, files []control.File) error {
	for _, f := range files {
		name := rewrite(f.Path)
		if !slices.ContainsFunc(command, func(arg string) bool { return strings.Contains(arg, name) }) {
			continue
		}
		info, err := os.Stat(name)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Ino != f.Inode {
			return fmt.Errorf("disk %.256s is another file here than on the source (its inode is %d, there %d)", name, st.Ino, f.Inode)
		}
	}
	return nil
}
