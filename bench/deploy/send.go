package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/lab/serial"
)

// Report is what `scatter send --report` writes, as far as it is promised to scripts.
type Report struct {
	TotalTime      float64 `json:"total_time_s"`
	SourceBytes    int64   `json:"source_bytes"`
	MulticastBytes int64   `json:"multicast_bytes"`
	UnicastBytes   int64   `json:"unicast_bytes"`
	RepairBytes    int64   `json:"repair_bytes"`
	ControlBytes   int64   `json:"control_bytes"`
	Pages          struct{ Total, Zero, Shared, Unique, Hot, Resent int64 }
	Group          struct{ Count, Joins, Leaves int64 }
	Plan           struct {
		PredictedBytes int64   `json:"predicted_bytes"`
		PredictedTime  float64 `json:"predicted_time_s"`
	}
	VMs []struct {
		Name, Host, State, Cause string
		DowntimeMS               float64 `json:"downtime_ms"`
		PredictedMS              float64 `json:"predicted_downtime_ms"`
		Bytes                    int64
		Throttled                float64 `json:"throttled_s"`
		Mode                     string
		PostCopy                 *struct {
			ExposedS   float64 `json:"exposed_s"`
			PredictedS float64 `json:"predicted_exposed_s"`
			Bytes      int64
			DiskBytes  int64 `json:"disk_bytes"`
			Faults     int64
			FaultMS    float64 `json:"fault_ms"`
			MostMS     float64 `json:"most_ms"`
		} `json:"post_copy"`
		Verified bool
		LeftOut  []struct {
			Block  string
			Offset int64
			Bytes  int
			Why    string
		} `json:"verify_left_out"`
	}
}

// Result is what one `scatter send` did. Time and bytes are measured from outside.
type Result struct {
	Exit        int
	Time        time.Duration // of the whole command
	SourceBytes int64         // on the source's port
	PeakMemory  int64         // of the command
	Report      *Report       // nil if it wrote none
	Output      string        // stdout and stderr
	Started     time.Time
}

// Send is a running `scatter send`.
type Send struct {
	PID int

	d      *Deployment
	cmd    *exec.Cmd
	out    *output
	report string
	start  time.Time
	before lan.Traffic
	peak   int64 // bytes; set before done is closed
	done   chan struct{}
}

// Job says what to send where.
type Job struct {
	Guests  []*lab.Guest // nil = all
	Targets []*lan.Host  // nil = all
	Args    []string     // further arguments
	Prefix  []string     // what goes before the program
	Show    *os.File     // where send prints to, so that it can tell a terminal; nil = into Result.Output
}

// arguments returns those of `scatter` for the job, which is a command and what it needs beside the job.
func (d *Deployment) arguments(job Job, command ...string) []string {
	source := d.Lab.Source
	all := append(command, "--interface", source.Interface, "--tls-dir", TLSDir(source), "--run-dir", RunDir(source))
	if job.Guests == nil {
		job.Guests = d.Lab.Guests()
	}
	if job.Targets == nil {
		job.Targets = d.Lab.Targets
	}
	for _, g := range job.Guests {
		all = append(all, "--vm", g.QMP)
	}
	for _, h := range job.Targets {
		all = append(all, "--to", h.Name+"="+d.Address(h))
	}
	return append(all, job.Args...)
}

// StartSend starts to send.
func (d *Deployment) StartSend(ctx context.Context, job Job) (*Send, error) {
	before, err := d.Lab.Source.Traffic(ctx)
	if err != nil {
		return nil, err
	}
	source := d.Lab.Source
	s := &Send{d: d, out: newOutput(), report: filepath.Join(source.Dir, "report.json"), before: before, done: make(chan struct{})}
	if err := os.RemoveAll(s.report); err != nil {
		return nil, err
	}
	argv := slices.Concat(job.Prefix, []string{d.Binary}, d.arguments(job, "send", "--report", s.report))
	s.cmd = source.Command(context.WithoutCancel(ctx), argv[0], argv[1:]...)
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.WaitDelay = s.out, s.out, drain
	if job.Show != nil {
		s.cmd.Stdout, s.cmd.Stderr = job.Show, job.Show
	}
	s.start = time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.PID = s.cmd.Process.Pid
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.cmd.Wait() // Result reads the exit status
	}()
	go func() {
		defer close(s.done)
		s.watchMemory(ended)
	}()
	return s, nil
}

// watchMemory notes the most memory that send has had resident, until it ends. What the kernel tells of it at its end counts the
// memory of whoever started it, too.
func (s *Send) watchMemory(ended <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if peak, err := peakMemory(s.PID); err == nil {
			s.peak = peak
		}
		select {
		case <-ended:
			return
		case <-tick.C:
		}
	}
}

// Await waits until send has printed text.
func (s *Send) Await(ctx context.Context, text string) error {
	if err := s.out.await(ctx, text, s.done); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// Signal sends it a signal.
func (s *Send) Signal(sig syscall.Signal) error { return s.cmd.Process.Signal(sig) }

// Result waits until send has ended, and says what it did. If ctx ends first, send is interrupted and left to end by itself.
func (s *Send) Result(ctx context.Context) (*Result, error) {
	select {
	case <-s.done:
	case <-ctx.Done():
		_ = s.Signal(syscall.SIGINT) // it may have ended this moment
		<-s.done
	}
	r := &Result{Exit: s.cmd.ProcessState.ExitCode(), Time: time.Since(s.start), Output: s.out.String(), PeakMemory: s.peak, Started: s.start}
	after, err := s.d.Lab.Source.Traffic(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	r.SourceBytes = after.SentBytes - s.before.SentBytes
	b, err := os.ReadFile(s.report)
	if err != nil {
		return r, nil // an evacuation that never began has none
	}
	r.Report = new(Report)
	if err := json.Unmarshal(b, r.Report); err != nil {
		return nil, fmt.Errorf("send: report: %w", err)
	}
	return r, nil
}

// Plan runs `scatter plan` for the job, and returns what it prints on stdout and its exit status.
func (d *Deployment) Plan(ctx context.Context, job Job) (stdout []byte, exit int, err error) {
	cmd := d.Lab.Source.Command(ctx, d.Binary, d.arguments(job, "plan")...)
	stdout, err = cmd.Output()
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		err = nil
	}
	return stdout, cmd.ProcessState.ExitCode(), err
}

// Send sends and waits until that has ended.
func (d *Deployment) Send(ctx context.Context, job Job) (*Result, error) {
	s, err := d.StartSend(ctx, job)
	if err != nil {
		return nil, err
	}
	return s.Result(ctx)
}

// Pause returns the longest pause of a guest since the evacuation began, as seen from outside.
func (r *Result) Pause(g *lab.Guest) serial.Pause {
	return g.Serial.LongestPause(r.Started, time.Now())
}

// WorstPause returns the longest pause of any guest.
func (r *Result) WorstPause(guests []*lab.Guest) (worst time.Duration) {
	for _, g := range guests {
		worst = max(worst, r.Pause(g).Length)
	}
	return worst
}

// CheckGuests verifies that each guest runs in exactly one place, and that it is unharmed as far as it has verified itself. It returns
// where each is.
func (d *Deployment) CheckGuests(ctx context.Context, guests []*lab.Guest) ([]*lan.Host, error) {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	where := make([]*lan.Host, len(guests))
	for i, g := range guests {
		h, err := d.Lab.Where(ctx, g)
		if err != nil {
			return nil, err
		}
		where[i] = h
		if err := g.Serial.Health().Err(); err != nil {
			return nil, fmt.Errorf("guest %s: %w", g.Name, err)
		}
	}
	return where, nil
}
