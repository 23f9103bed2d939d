package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// sample is what one transfer took.
type sample struct {
	cell
	Tool    string
	Size    int64   // bytes to each target
	Seconds float64 // from the first data on the source's link until the last target that is not slow has all
	Total   float64 // seconds from the start of the sender's program on
	Bytes   int64   // on the source's link
	Send    float64 // CPU seconds of the sender
	Receive float64 // CPU seconds of the receivers on average
	Memory  int64   // peak of the hungriest receiver, in bytes
	Failed  string  `json:",omitempty"`
}

func (m sample) String() string {
	if m.Failed != "" {
		return fmt.Sprintf("%s: %s: FAILED: %s", m.cell, m.Tool, m.Failed)
	}
	return fmt.Sprintf("%s: %s: %s, %.3f bytes per byte, CPU %.2f and %.2f s/GB", m.cell, m.Tool, m.speed(m.goodput()), m.overhead(), m.sendCPU(), m.receiveCPU())
}

// goodput is bytes per second to each target.
func (m sample) goodput() float64 {
	if m.Seconds == 0 {
		return 0
	}
	return float64(m.Size) / m.Seconds
}

func (m sample) overhead() float64   { return float64(m.Bytes) / float64(m.Size) }
func (m sample) sendCPU() float64    { return m.Send / float64(m.Size) * 1e9 }
func (m sample) receiveCPU() float64 { return m.Receive / float64(m.Size) * 1e9 }

// take does a transfer.
func (m *sample) take(ctx context.Context, tool *tool, t transfer) error {
	var receivers []*program
	defer func() {
		for _, r := range receivers {
			r.stop()
		}
	}()
	for i, h := range t.targets {
		r, err := start(ctx, h, tool.receive(t, i), tool.ready, tool.complete)
		if err != nil {
			return err
		}
		receivers = append(receivers, r)
		if tool.complete == "" {
			r.readers.Go(func() { r.watch(filepath.Join(t.dirOf(i), tool.file), t.size) })
		}
	}
	for _, r := range receivers {
		if err := r.awaitReady(ctx); err != nil {
			return err
		}
	}
	time.Sleep(settle)
	if err := m.send(ctx, tool, t, receivers); err != nil {
		return err
	}
	for _, r := range receivers {
		if tool.stays {
			r.stop()
		}
		cpu, memory := r.usage(ctx)
		m.Receive += cpu / float64(len(receivers))
		m.Memory = max(m.Memory, memory)
	}
	return ctx.Err()
}

// send runs the sender, and sees when data begins to flow and when all receivers have it.
func (m *sample) send(ctx context.Context, tool *tool, t transfer, receivers []*program) error {
	watch, err := t.source.Watch()
	if err != nil {
		return err
	}
	defer watch.Close()
	before, err := t.source.Traffic(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var flowing sync.WaitGroup
	var began time.Time
	var unseen error
	flowing.Go(func() { began, unseen = watch.Flow(ctx, t.flow()) })
	started := time.Now()
	sender, err := start(ctx, t.source, tool.send(t), "", "")
	if err != nil {
		return err
	}
	defer sender.stop()
	var ended time.Time
	for i, r := range receivers {
		at, err := r.awaitComplete(ctx, sender)
		if err != nil {
			cancel()
			flowing.Wait()
			return fmt.Errorf("%w; the sender says: %s", err, sender.said())
		}
		if slow := t.Slow && i == len(receivers)-1; !slow && at.After(ended) {
			ended = at
		}
	}
	m.Send, _ = sender.usage(ctx)
	cancel()
	flowing.Wait()
	if unseen != nil {
		began = started // too slow to stand out
	}
	after, err := t.source.Traffic(context.WithoutCancel(ctx))
	m.Bytes = after.Sub(before).SentBytes
	m.Seconds, m.Total = ended.Sub(began).Seconds(), ended.Sub(started).Seconds()
	return err
}

// program is a running one.
type program struct {
	cmd       *exec.Cmd
	host      string
	ready     chan struct{}
	completed chan time.Time
	exited    chan struct{}
	readers   sync.WaitGroup

	mu   sync.Mutex // guards last
	last []string   // lines that it has printed
}

// start runs a command in a host, and looks for two texts in what it prints. Ready is at once where there is no text.
func start(ctx context.Context, h *lan.Host, argv []string, ready, complete string) (*program, error) {
	p := &program{cmd: h.Command(ctx, argv[0], argv[1:]...), host: h.Name,
		ready: make(chan struct{}), completed: make(chan time.Time, 1), exited: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	err = p.cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("%s: %s: %w", h.Name, argv[0], err)
	}
	if ready == "" {
		close(p.ready)
	}
	p.readers.Go(func() { p.read(r, ready, complete) })
	p.readers.Go(func() {
		_ = p.cmd.Wait() // what matters is whether the file has arrived
		close(p.exited)
	})
	return p, nil
}

// read looks for the texts in what the program prints.
func (p *program) read(r io.ReadCloser, ready, complete string) {
	defer r.Close()
	lines := bufio.NewScanner(r)
	lines.Split(scanLines)
	for lines.Scan() {
		now, line := time.Now(), lines.Text()
		if ready != "" && strings.Contains(line, ready) {
			close(p.ready)
			ready = ""
		}
		if complete != "" && strings.Contains(line, complete) {
			p.completed <- now
			complete = ""
		}
		p.note(line)
	}
}

// watch looks at the size of a file that is written from its begin to its end.
func (p *program) watch(path string, size int64) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if info, err := os.Stat(path); err == nil && info.Size() >= size {
			p.completed <- time.Now()
			return
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return
		}
	}
}

// scanLines splits at line feeds and at carriage returns, with which progress is shown.
func scanLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	for i, c := range data {
		if c == '\n' || c == '\r' {
			return i + 1, data[:i], nil
		}
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// remembered is how many lines are kept to explain a failure.
const remembered = 4

func (p *program) note(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last = append(p.last, strings.TrimSpace(line)); len(p.last) > remembered {
		p.last = p.last[1:]
	}
}

// said is what the program has printed lately.
func (p *program) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.last, "; ")
}

func (p *program) awaitReady(ctx context.Context) error {
	select {
	case <-p.ready:
		return nil
	case <-p.exited:
		return fmt.Errorf("%s: ended at once: %s", p.host, p.said())
	case <-ctx.Done():
		return fmt.Errorf("%s: did not get ready: %s", p.host, p.said())
	}
}

// afterwards is how long a receiver may go on when the sender has ended.
const afterwards = 30 * time.Second

// awaitComplete returns when the program has said that it has all.
func (p *program) awaitComplete(ctx context.Context, sender *program) (time.Time, error) {
	select {
	case at := <-p.completed:
		return at, nil
	case <-sender.exited:
	case <-ctx.Done():
	}
	select {
	case at := <-p.completed:
		return at, nil
	case <-time.After(afterwards):
	case <-ctx.Done():
	}
	return time.Time{}, fmt.Errorf("%s: not complete: %s", p.host, p.said())
}

// usage waits until the program has ended and returns its CPU seconds and its peak of memory in bytes.
func (p *program) usage(ctx context.Context) (cpu float64, memory int64) {
	select {
	case <-p.exited:
	case <-ctx.Done():
		p.stop()
	}
	p.readers.Wait()
	u, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, 0
	}
	return p.cmd.ProcessState.UserTime().Seconds() + p.cmd.ProcessState.SystemTime().Seconds(), u.Maxrss << 10
}

// stop ends the program, if it has not ended by itself.
func (p *program) stop() {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = p.cmd.Process.Kill()
	}
	select {
	case <-p.exited:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	p.readers.Wait()
}
