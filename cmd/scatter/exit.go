package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/usage"
	"github.com/scatter-vm/scatter/scatter"
)

// Exit statuses. Scripts depend on them; docs/scripting.md tells what a script may conclude from each.
const (
	exitOK        = 0   // done; send: every VM runs on a target
	exitFailed    = 1   // a command other than send and plan could not do its work
	exitUsage     = 2   // flags, environment or configuration file are wrong; nothing was touched
	exitSomeStay  = 3   // some VMs stay on the source, running
	exitNothing   = 4   // nothing moved: preflight or plan found a blocker
	exitInDoubt   = 5   // a VM is in doubt, an operator is needed
	exitEnded     = 6   // a VM has ended by itself, all others run on a target
	exitCancelled = 130 // cancelled; VMs not yet switched over stay on the source, running
)

// exitHelp is the end of a command's help text, as the annotation where helpTemplate finds it.
func exitHelp(lines ...string) map[string]string {
	return map[string]string{"exit": "EXIT STATUS\n  " + strings.Join(lines, "\n  ") + "\n"}
}

const (
	helpUsage     = "2    usage: flags, environment or configuration file are wrong; nothing was touched"
	helpFailed    = "1    failed; the message says why"
	helpCancelled = "130  cancelled"
)

// statusError carries the exit status that a command decided on, with what it has to say about it.
type statusError struct {
	code     int
	err      error
	stayed   []string
	inDoubt  []string
	ended    []string
	blockers []scatter.Blocker
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// exitCode is the one place where errors become exit statuses.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if status, ok := errors.AsType[*statusError](err); ok {
		return status.code
	}
	if _, ok := errors.AsType[*usage.Error](err); ok {
		return exitUsage
	}
	if errors.Is(err, scatter.ErrCancelled) || errors.Is(err, context.Canceled) {
		return exitCancelled
	}
	return exitFailed
}

// exitObject is the last line on stderr under --json.
type exitObject struct {
	Type     string            `json:"type"` // exit
	Code     int               `json:"code"`
	Message  string            `json:"message,omitempty"`
	Blockers []scatter.Blocker `json:"blockers,omitempty"`
	Stayed   []string          `json:"stayed,omitempty"`   // VMs that run on the source
	InDoubt  []string          `json:"in_doubt,omitempty"` // VMs that an operator must look at
	Ended    []string          `json:"ended,omitempty"`    // VMs that have ended by themselves
}

func newExitObject(err error) exitObject {
	o := exitObject{Type: "exit", Code: exitCode(err)}
	if err == nil {
		return o
	}
	o.Message = err.Error()
	if s, ok := errors.AsType[*statusError](err); ok {
		o.Stayed, o.InDoubt, o.Ended, o.Blockers = s.stayed, s.inDoubt, s.ended, s.blockers
	}
	if b, ok := errors.AsType[*scatter.BlockedError](err); ok {
		o.Blockers = b.Blockers
	}
	return o
}

// sayExit writes the command's last words to stderr.
func sayExit(w io.Writer, asJSON bool, err error) {
	o := newExitObject(err)
	if asJSON {
		json.NewEncoder(w).Encode(o)
		return
	}
	if err == nil {
		return
	}
	if b, ok := errors.AsType[*scatter.BlockedError](err); ok && len(b.Blockers) > 1 {
		fmt.Fprintln(w, "scatter: nothing moved:")
		for _, b := range b.Blockers {
			fmt.Fprintln(w, "  -", b)
		}
		return
	}
	fmt.Fprintln(w, "scatter:", o.Message)
}
