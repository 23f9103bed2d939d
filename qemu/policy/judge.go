package policy

import (
	"context"

	"github.com/scatter-vm/scatter/qemu/cmdline"
)

// judge carries the policy through one command line.
type judge struct {
	Policy
	binary   string
	runDir   string
	confined bool // by the kernel

	option   string // being judged
	readOnly bool   // what it opens is only read

	opened   []string // files that may be opened
	ports    []uint16 // that may be listened at
	programs bool     // some are started
}

// item judges one option and returns the arguments that it becomes, none if it is dropped.
func (j *judge) item(it cmdline.Argument) ([]string, error) {
	j.option, j.readOnly = it.Option(), false
	if it.Name == "" {
		_, err := shortDisk(j, it.Value)
		return nil, err
	}
	opt := options[it.Name]
	if opt.refuse != "" {
		return nil, j.refuse(it.Value, opt.refuse)
	}
	if opt.drop {
		return nil, nil
	}
	if !it.HasValue {
		return []string{"-" + it.Name}, nil
	}
	value, err := opt.rule(j, it.Value)
	if err != nil {
		return nil, err
	}
	return []string{"-" + it.Name, value}, nil
}

// defaults makes up for what QEMU does when it is not told: it opens a window, and it gives the guest a network.
func (j *judge) defaults(items []cmdline.Argument) ([]string, error) {
	has := func(names ...string) bool {
		for _, it := range items {
			for _, n := range names {
				if it.Name == n {
					return true
				}
			}
		}
		return false
	}
	if !j.AllowNetwork && !has("nodefaults", "net", "nic", "netdev") {
		j.option = "-nic user"
		return nil, j.refuse("", "implied by a command line without network options; "+needsNetwork)
	}
	if !has("display", "vnc", "spice", "nographic") {
		return []string{"-display", "none"}, nil
	}
	return nil, nil
}

// privileges are the options by which QEMU gives up what it does not need: another user's rights, and system calls.
func (j *judge) privileges() (out []string, err error) {
	if j.Programs == nil {
		return nil, nil
	}
	s, err := j.Programs.Survey(context.Background(), j.binary) // which has a time-out of its own
	if err != nil {
		return nil, nil // its start will show why
	}
	sandbox := "on,obsolete=deny,spawn=deny"
	switch {
	case j.RunAs == "":
		sandbox += ",elevateprivileges=deny"
	case s.AtLeast(9, 1):
		out = append(out, "-run-with", "user="+cmdline.EscapeComma(j.RunAs))
	default:
		out = append(out, "-runas", j.RunAs)
	}
	if s.Sandbox && !j.programs && !j.Unconfined {
		out = append(out, "-sandbox", sandbox)
	}
	return out, nil
}

func (j *judge) refuse(value, reason string) error {
	return &Error{Option: j.option, Value: cmdline.Shorten(value), Reason: reason}
}
