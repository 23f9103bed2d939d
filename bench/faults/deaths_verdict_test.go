//go:build lab

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/serial"
	"github.com/scatter-vm/scatter/scatter"
)

// verdict is what was seen of a VM from outside, after everything had come to its end.
type verdict struct {
	unfit   bool // the test itself has failed: this is no verdict
	spared  bool // the victim did not live at that moment
	lost    bool // it has no QEMU any more, and its killer is not to blame
	doubled bool // it runs, or ran, in two places
	doubt   bool // nobody can know whether it ran on the target before that died; the source's copy is kept
	wrong   uint64
	wrongs  []string // what is not as it must be, in words
}

func (v *verdict) blame(format string, args ...any) {
	v.wrongs = append(v.wrongs, fmt.Sprintf(format, args...))
}

// nowhere is where a VM is that has ended.
const nowhere = "nowhere"

// judge looks at the VM, and at what was said of it.
func (e *evacuation) judge() (v verdict) {
	ctx, cancel := context.WithTimeout(e.ctx, 3*settleTime)
	defer cancel()
	seen := e.look(ctx)
	running := slices.DeleteFunc(slices.Clone(seen), func(s lab.Sighting) bool { return s.Status != "running" })
	actual := nowhere
	switch {
	case len(running) > 1:
		v.doubled = true
		v.blame("runs twice: %v", running)
	case len(running) == 1 && len(seen) > 1:
		v.blame("a QEMU is left: %v", seen)
	case len(running) == 0 && len(seen) == 1 && e.mayDoubt(seen[0]):
		v.doubt = true
	case len(running) == 0 && len(seen) > 0:
		v.blame("does not run: %v", seen)
	case len(running) == 0 && !e.mayEnd():
		v.lost = true
		v.blame("is lost")
	}
	if e.mayBeTorn() && len(seen) == 1 && seen[0].Host == e.target && e.beats(ctx) != nil {
		v.doubt, running = true, nil // it waits for a page that nobody has
		v.wrongs = nil
	}
	if len(running) == 1 {
		actual = running[0].Host.Name
		if err := e.beats(ctx); err != nil {
			v.blame("%v", err)
		} else if err := e.guest.AwaitVerified(ctx); err != nil {
			v.blame("%v", err)
		}
	}
	h := e.guest.Serial.Health()
	v.wrong, v.doubled = h.Wrong, v.doubled || len(h.Twice) > 0
	e.judgeWords(&v, actual)
	e.judgeJournal(&v)
	if e.course.disk {
		e.judgeDisk(ctx, &v, actual)
	}
	return v
}

// beats makes sure that the VM beats where it runs, and nowhere else. On a busy machine a monitor may be slow to say so.
func (e *evacuation) beats(ctx context.Context) (err error) {
	for range 3 {
		if _, err = e.Where(ctx, e.guest); err == nil {
			return nil
		}
	}
	return err
}

// look waits until the VM runs in one QEMU, or has none, and returns what it saw last.
func (e *evacuation) look(ctx context.Context) (seen []lab.Sighting) {
	until := time.Now().Add(settleTime)
	for {
		if found, err := e.Sightings(ctx, e.guest); err == nil {
			seen = found
		}
		if len(seen) == 0 || len(seen) == 1 && seen[0].Status == "running" || time.Now().After(until) {
			return seen
		}
		time.Sleep(lookEvery)
	}
}

// lookEvery is rarer than pollEvery: to find processes takes a while.
const lookEvery = 300 * time.Millisecond

// mayEnd tells whether the VM died by the hand that killed its QEMU: the one that ran it, or that had the only complete copy.
func (e *evacuation) mayEnd() bool {
	switch {
	case e.course.name == ending:
		return true
	case !e.harm.kill:
		return false
	case e.course.name == forward:
		return e.victim == targetQEMU
	}
	switch e.victim {
	case sourceQEMU:
		return e.course.fills && !slices.Contains(e.struck, "filled") || !slices.Contains(e.struck, "loaded") || e.ranAgain()
	case targetQEMU:
		return e.arrived()
	}
	return false
}

// mayDoubt tells whether nobody can know if the VM has run on its target: that was killed with Run on its way. What is left then is the
// source's copy, which only an operator may let run: it may be older than the VM's disks.
func (e *evacuation) mayDoubt(left lab.Sighting) bool {
	return e.harm.kill && e.victim == targetQEMU && slices.Contains(e.struck, "run") && left.Host == e.Source && left.Status == "postmigrate"
}

// mayBeTorn tells whether the VM may run on its target without pages that its source has died with.
func (e *evacuation) mayBeTorn() bool {
	return e.course.fills && e.harm.kill && e.victim == sourceQEMU && !slices.Contains(e.struck, "filled")
}

// ranAgain tells whether the source was about to run the VM again when it was struck, or did.
func (e *evacuation) ranAgain() bool {
	return slices.Contains(e.struck, "resume") || slices.Contains(e.history, "source-runs")
}

// arrived tells whether the VM has run on the target: it has beaten there, or QEMU has said that it runs, which may be too soon for a beat.
func (e *evacuation) arrived() bool {
	said := func(r *deploy.Receiver) bool { return strings.Contains(r.Log(), "runs here") }
	return slices.Contains(e.struck, "running") || slices.ContainsFunc(e.recvs, said) ||
		slices.ContainsFunc(e.guest.Serial.Beats(), func(b serial.Beat) bool { return b.Host == e.target })
}

// judgeWords compares what scatter said last with where the VM is.
func (e *evacuation) judgeWords(v *verdict, actual string) {
	code := e.send.ProcessState.ExitCode()
	said, cause := "", ""
	if code != -1 {
		r, err := e.report()
		if err != nil {
			v.blame("exit status %d without a report (%v): %s", code, err, e.lastWords())
			return
		}
		said, cause = r.VMs[0].State, r.VMs[0].Cause
		if want := map[int]string{0: evacuated, 3: onSource, 5: inDoubt, 6: ended, 130: said}[code]; said != want {
			v.blame("exit status %d, but the report says %s", code, said)
		}
	}
	for _, c := range e.claims {
		said, cause = map[scatter.Where]string{scatter.OnSource: onSource, scatter.OnTarget: evacuated, scatter.InDoubt: inDoubt,
			scatter.Ended: ended}[c.Where], c.Action
	}
	died := actual == nowhere && e.mayEnd()
	switch {
	case said == evacuated && (actual == e.target.Name || died && e.victim == targetQEMU):
	case said == onSource && (actual == e.Source.Name || died && slices.Contains(e.history, "source-runs")): // it did
	case said == ended && died:
	case said == inDoubt && v.doubt:
	case said == "" && actual == e.Source.Name && code == -1: // killed before anything was touched
	case said == "" && actual == e.target.Name && code == -1 && slices.Contains(e.struck, "final"): // killed when nothing was left to be done
	default:
		v.blame("said %q (%s), but it is %s", said, cause, actual)
	}
	if e.harm.freeze == shortFreeze && !e.harm.kill && e.course.turn == "" && said != evacuated {
		v.blame("3 s of silence kept it from moving: %s", cause)
	}
}

func (e *evacuation) report() (*scatter.Report, error) {
	b, err := os.ReadFile(e.reportFile())
	if err != nil {
		return nil, err
	}
	r := new(scatter.Report)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, err
	}
	if len(r.VMs) != 1 {
		return nil, fmt.Errorf("%d VMs in the report", len(r.VMs))
	}
	return r, nil
}

// judgeJournal checks that nothing is open any more.
func (e *evacuation) judgeJournal(v *verdict) {
	open, err := filepath.Glob(filepath.Join(deploy.RunDir(e.Source), "send-*.journal"))
	if err == nil && len(open) > 0 && !v.doubt {
		err = errors.New("the source's journal is still open")
		if len(e.words) > 0 {
			err = fmt.Errorf("%w after: %s", err, strings.TrimSpace(e.words[len(e.words)-1]))
		}
	}
	if err != nil {
		v.blame("%v", err)
	}
}
