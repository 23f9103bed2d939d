//go:build lab

package faults

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

// victim is a process of an evacuation.
type victim string

const (
	sourceQEMU victim = "source-qemu"
	targetQEMU victim = "target-qemu"
	sendItself victim = "send"
	recvItself victim = "recv"
)

// harm is what is done to a victim: it is killed, or stopped for a time, or stopped and then killed.
type harm struct {
	kill   bool          // kill -9
	freeze time.Duration // SIGSTOP, and as much later SIGCONT or the kill: what it was asked meanwhile gets no answer
	late   bool          // a killed recv is started again only when send has ended
}

func (h harm) String() string {
	switch {
	case h.late:
		return "kill,late"
	case h.freeze == 0:
		return "kill"
	case h.kill:
		return "freeze " + h.freeze.String() + ",kill"
	}
	return "freeze " + h.freeze.String()
}

// moment is when the harm is done to an action of the core.
type moment string

const (
	before moment = "before" // it is decided, and not begun
	during moment = "during" // it has begun, and what comes of it is not acted upon
)

// course is what happens to an evacuation beside the harm, so that the core takes a certain way.
type course struct {
	name  string
	flags []string
	busy  bool // the guest dirties memory faster than its link carries
	fills bool // the VM takes over before its memory is there
	disk  bool // a disk travels with it
	// turn is the line of the trace at which lead leads the evacuation off the way of success.
	turn    string
	lead    func(*evacuation) error
	victims []victim // nil = all
	actions []string // of the core on this way
}

// courses lead through every action of the core.
var courses = []course{
	{name: "plain", actions: []string{"prepare", "bulk", "converge", "verify", "logcommit", "release", "logrun", "run", "logdone", "quit-source",
		"final"}},
	{name: "digest", flags: []string{"--verify"}, actions: []string{"verify"}},
	{name: "stall", busy: true, flags: []string{"--on-stall", "pause", "--rate", "20mbit", "--downtime", "50ms"}, actions: []string{"pause"}},
	{name: postCopy, fills: true, flags: []string{"--mode", "post", "--rate", "20mbit"},
		actions: []string{"converge", "verify", "release", "run", "fill", "sweep", "logdone"}},
	{name: "hybrid", fills: true, busy: true, flags: []string{"--mode", "hybrid", "--rate", "20mbit"}, actions: []string{"converge", "fill"}},
	{name: "disk", disk: true, flags: []string{"--mode", "pre", "--disks", "pre", "--rate", "20mbit"}, actions: []string{"prepare", "converge", switching, "run"}},
	{name: "lazy-disk", fills: true, disk: true, flags: []string{"--mode", "post", "--disks", "post", "--rate", "20mbit"}, actions: []string{"verify", "run", "fill", "sweep"}},
	{name: "cancel", turn: "converge", lead: (*evacuation).interrupt, actions: []string{"abort"}},
	{name: "lost-before-run", turn: "release", lead: (*evacuation).replaceRecv, actions: []string{"logabort", "resume", "final"}},
	{name: "lost-after-run", turn: "logged run", lead: (*evacuation).deafRecv, actions: []string{"resolve", "final"}},
	{name: ending, turn: "converge", lead: (*evacuation).killSource, victims: others, actions: []string{"abort", "resolve", "forget"}},
	{name: forward, turn: "loaded", lead: (*evacuation).killSource, victims: others, actions: []string{"logrun", "run", "logdone"}},
}

// postCopy is the course in which bulk comes after the switch-over.
const postCopy = "post-copy"

// switching is no action of the core: the VM has just been stopped for its switch-over.
const switching = "switch"

// Courses in which the source's QEMU dies before the target has all of the VM, and after.
const (
	ending  = "ending"
	forward = "forward"
)

// others are all victims that live when the source's QEMU is dead.
var others = []victim{targetQEMU, sendItself, recvItself}

// heralds are the lines after which the core gives an action: the events that it answers, or the line written together with it.
var heralds = map[string][]string{
	"prepare":     {"start"},
	"bulk":        {"prepared"},
	"converge":    {"bulk-done"},
	switching:     {"stopped"},
	"pause":       {"stalled"},
	"verify":      {"loaded"},
	"logcommit":   {"verified"},
	"release":     {"logged commit"},
	"logrun":      {"completed", "logged commit"},
	"run":         {"logged run"},
	"fill":        {"running"},
	"sweep":       {"bulk-done"},
	"logdone":     {"running", "filled"},
	"quit-source": {"logged done"},
	"final":       {"quit-source", "source-runs"},
	"abort":       {"cancel", "source-gone"},
	"logabort":    {"completed"},
	"resume":      {"logged abort"},
	"resolve":     {"target-lost", "source-unsure"},
	"forget":      {"verdict"},
}

// deathCase is one evacuation that is harmed.
type deathCase struct {
	course course
	action string
	moment moment
	victim victim
	harm   harm
}

func (c deathCase) String() string {
	return fmt.Sprintf("%s/%s %s/%s/%s", c.course.name, c.moment, c.action, c.victim, c.harm)
}

// reached tells whether a line of the trace is where the harm is to be done.
func (c deathCase) reached(key string, history []string) bool {
	if c.moment == during {
		return key == c.action
	}
	if c.action == "converge" && c.course.name == postCopy {
		return key == "prepared"
	}
	if c.action == "logrun" && c.course.name == "plain" {
		return key == "completed"
	}
	if c.course.turn != "" && !slices.Contains(history, "turned") {
		return false
	}
	return slices.Contains(heralds[c.action], key)
}

// How long a freeze takes: peers bear with the first, and give up in the second. One that ends in death needs to be no longer than it
// takes to ask the victim for something, or must be longer than anybody waits for the answer of a QEMU.
const (
	shortFreeze  = 3 * time.Second
	longFreeze   = 30 * time.Second
	deadlyFreeze = time.Second
)

// harms are all harms, those that take longest first.
var harms = []harm{{freeze: longFreeze}, {freeze: longFreeze, kill: true}, {kill: true}, {kill: true, late: true},
	{freeze: deadlyFreeze, kill: true}, {freeze: shortFreeze}}

// fits tells whether a harm is worth to be done: some only add something where the victim is asked to do something, or on the way of
// success.
func (h harm) fits(co course, v victim, action string) bool {
	qemu := v == sourceQEMU || v == targetQEMU
	switch {
	case (co.fills || co.disk) && !h.kill:
		return h.freeze == shortFreeze && (action == "run" || action == "fill" || action == switching)
	case co.victims != nil && !slices.Contains(co.victims, v):
		return false
	case !h.kill && h.freeze == shortFreeze:
		return co.turn == ""
	case h.late:
		return v == recvItself
	case co.fills, co.disk:
		return h.freeze == 0
	case h.kill && h.freeze == longFreeze:
		return v == targetQEMU && slices.Contains([]string{"logrun", "run", "resolve"}, action) ||
			v == sourceQEMU && slices.Contains([]string{"verify", "logcommit", "release"}, action)
	case h.kill && h.freeze > 0:
		return qemu && action != "final" && !strings.HasPrefix(action, "log") // which ask no QEMU anything
	}
	return true
}

// deathCases returns all cases, those that take longest first.
func deathCases() (cases []deathCase) {
	for _, h := range harms {
		for _, co := range courses {
			for _, action := range co.actions {
				for _, m := range []moment{before, during} {
					for _, v := range []victim{sourceQEMU, targetQEMU, sendItself, recvItself} {
						if h.fits(co, v, action) && (action != switching || m == before) {
							cases = append(cases, deathCase{co, action, m, v, h})
						}
					}
				}
			}
		}
	}
	return cases
}

// signals of a freeze.
const (
	stop = syscall.SIGSTOP
	cont = syscall.SIGCONT
	kill = syscall.SIGKILL
)
