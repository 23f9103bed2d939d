package compat

import (
	"fmt"
	"slices"
	"strings"
)

// Verdict is what becomes of a VM.
type Verdict string

const (
	Moves   Verdict = "moves"           // and is on the target what it was on the source
	Refused Verdict = "refused in plan" // by name and with a remedy; nothing was touched
	Stays   Verdict = "stays"           // it is named, and goes on as it was; others go
	Ended   Verdict = "ended"           // it ended by itself on its way, and is reported so
)

// Row is one line of the table, and one test.
//
// In all its texts $SHARED is a directory that all hosts see under one name, and $LOCAL one that each host has for itself: the targets
// get a copy of its files. $MONITOR is the test's own way to the VM.
type Row struct {
	Name    string // what the row is about
	Verdict Verdict
	Words   string // what the plan says hinders, or what the report says of one that has ended: a part of it, in QEMU's words where these are QEMU's
	Remedy  string // a part of what the plan says to do about it
	Note    string // what else the reader should know

	QEMU     string   // version of the source's QEMU; "" = the one of this machine
	Options  string   // of the source's QEMU, beside a machine of type pc with TCG and 32 MiB, which they may replace
	Images   []string // made by `qemu-img create` before the start: "-f qcow2 $SHARED/a.qcow2 64M"
	Files    []string // plain files of 8 MiB, made before the start
	Spoilt   string   // an image whose first sector cannot be read
	Paused   bool     // it has not been started (-S)
	Restless bool     // its firmware never waits for anything
	Do       []string // commands to the monitor after the start, see Steps
	Stage    string   // the stage of `send` in which During is done
	During   []string // commands to the monitor then
	After    string   // run state at the end; "" = as it was before `send`, or after During

	Targets []Target // nil = one that has everything
	Lands   string   // the target that must get it; "" = any
	Send    string   // further flags of plan and send
	Beside  []string // other VMs on the host: the options of each; scatter finds all by --discover
	Needs   Need     // of this machine beside what its programs need by themselves, see needs
	VCPUs   int      // that plan must show; 0 = any number
	Check   string   // something more to look at, see checks
}

// Target is what one target differs in.
type Target struct {
	QEMU  string   // its version; "" = the one of this machine
	Lacks []string // files that it does not have, all or part of $LOCAL
	Hides string   // a file of this machine that is not there for it
	Args  string   // further flags of recv
}

// Need is what not every machine has.
type Need string

const (
	NeedsKVM     Need = "/dev/kvm"
	NeedsOldQEMU Need = "QEMU 7.2"
	NeedsVhost   Need = "/dev/vhost-net"
	NeedsTap     Need = "/dev/net/tun"
	NeedsHuge    Need = "free huge pages"
	NeedsTPM     Need = "swtpm"
	NeedsSpice   Need = "spice in QEMU"
	NeedsNothing Need = ""
)

// needs tells what the machine must have, or the row's test is skipped.
func (r Row) needs() (all []Need) {
	if r.Needs != NeedsNothing {
		all = append(all, r.Needs)
	}
	if strings.Contains(r.Options, "-accel kvm") {
		all = append(all, NeedsKVM)
	}
	if r.QEMU != "" || slices.ContainsFunc(r.Targets, func(t Target) bool { return t.QEMU != "" }) {
		all = append(all, NeedsOldQEMU)
	}
	return all
}

// Part is a part of the table.
type Part struct {
	Title string
	Text  string // what the rows have in common
	Rows  []Row
}

// Parts returns the whole table.
func Parts() []Part {
	return []Part{changed(), runStates(), migrationSettings(), targets(), hostsSockets(), devices(), memories(), postCopies(), travellers()}
}

// validate finds rows that say too little to be tested.
func validate(parts []Part) error {
	seen := make(map[string]bool)
	for _, p := range parts {
		for _, r := range p.Rows {
			if err := r.validate(); err != nil {
				return fmt.Errorf("%s: %s: %w", p.Title, r.Name, err)
			}
			if seen[r.Name] {
				return fmt.Errorf("%s: %s: there are two of this name", p.Title, r.Name)
			}
			seen[r.Name] = true
		}
	}
	return nil
}

func (r Row) validate() error {
	switch {
	case r.Name == "" || strings.ContainsAny(r.Name+r.Note+r.Words+r.Remedy, "|\n"):
		return fmt.Errorf("a cell of the table would break")
	case !slices.Contains([]Verdict{Moves, Refused, Stays, Ended}, r.Verdict):
		return fmt.Errorf("verdict %q", r.Verdict)
	case (r.Verdict == Refused) != (r.Remedy != ""):
		return fmt.Errorf("who is refused, and only who is refused, gets a remedy")
	case r.Verdict != Moves && r.Words == "":
		return fmt.Errorf("no words for a VM that is %s", r.Verdict)
	case (r.Stage == "") != (len(r.During) == 0):
		return fmt.Errorf("a stage without commands, or the other way round")
	}
	return nil
}
