// Package model has the words that all rooms of the engine share: names of hosts, events, blockers and reports. It does nothing.
package model

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/scatter-vm/scatter/multicast/groups"
)

// ProtocolVersion is the version of the control protocol between source and
// target. Both must be equal.
const ProtocolVersion = 8

// PageSize is the size in bytes of a page of guest RAM.
const PageSize = 4096

// OnStall says what to do with a VM that dirties memory faster than the link
// can carry.
type OnStall string

const (
	// StallKeep leaves the VM running on the source.
	StallKeep OnStall = "keep"
	// StallPause stops the VM and finishes its migration.
	StallPause OnStall = "pause"
	// StallThrottle takes processor time from the VM, as little as it takes; it stays where that does not help.
	StallThrottle OnStall = "throttle"
	// StallPost has the VM take over on its target and sends what it lacks afterwards.
	StallPost OnStall = "post"
	// StallAny does what it takes: StallThrottle, and where that is not enough StallPost.
	StallAny OnStall = "any"
)

// Valid tells whether it is one of these.
func (o OnStall) Valid() bool {
	return slices.Contains([]OnStall{StallKeep, StallPause, StallThrottle, StallPost, StallAny}, o)
}

// AtDeadline tells whether it is one of those for VMs whose time is over.
func (o OnStall) AtDeadline() bool {
	return slices.Contains([]OnStall{StallKeep, StallPause, StallPost}, o)
}

// Mode is how VMs pass from their source to their targets.
type Mode string

const (
	// ModeAuto chooses one of the others for each VM, by what it would take.
	ModeAuto Mode = "auto"
	// ModeThrottle is ModePre, with processor time taken from a VM that would not converge otherwise.
	ModeThrottle Mode = "throttle"
	// ModePre brings all of a VM's memory over while it runs on the source.
	ModePre Mode = "pre"
	// ModeHybrid brings over what a VM has, and what it dirties meanwhile only if that fits into the pause; else the VM takes over without it, and
	// gets it then.
	ModeHybrid Mode = "hybrid"
	// ModePost has each VM take over at once: its memory follows.
	ModePost Mode = "post"
)

// Valid tells whether it is one of these.
func (m Mode) Valid() bool {
	return slices.Contains([]Mode{ModeAuto, ModePre, ModeThrottle, ModeHybrid, ModePost}, m)
}

// TakesOver tells whether VMs run on their targets in it before all of their memory is there.
func (m Mode) TakesOver() bool { return m == ModeHybrid || m == ModePost }

// Disks is what becomes of the local disks of VMs.
type Disks string

const (
	// DisksNone leaves them where they are: targets must have the same, on storage that hosts share.
	DisksNone Disks = "none"
	// DisksPre brings all disks that a VM writes to over before it switches over.
	DisksPre Disks = "pre"
	// DisksPost brings them over like DisksPre, but lets a VM that takes over before its memory (ModeHybrid, ModePost) do so before its disks, too.
	DisksPost Disks = "post"
	// DisksAuto is DisksPost for those that no target has already, on storage that hosts share.
	DisksAuto Disks = "auto"
)

// Valid tells whether it is one of these.
func (d Disks) Valid() bool { return d == DisksNone || d == DisksAuto || d.All() }

// All tells whether every disk is to travel that a VM writes to.
func (d Disks) All() bool { return d == DisksPre || d == DisksPost }

// Prefetch is what a VM that lacks pages is sent beside those that it asks for.
type Prefetch string

const (
	// PrefetchNone sends the rest as it lies.
	PrefetchNone Prefetch = "none"
	// PrefetchForward sends what lies behind the page that was asked for last.
	PrefetchForward Prefetch = "forward"
	// PrefetchBubble sends what lies around it.
	PrefetchBubble Prefetch = "bubble"
)

// Valid tells whether it is one of these.
func (p Prefetch) Valid() bool {
	return p == PrefetchNone || p == PrefetchForward || p == PrefetchBubble
}

// DefaultThrottle is the most of a VM's processor time that is taken unless the operator says so, MostThrottle the most that can be.
const (
	DefaultThrottle = 0.9
	MostThrottle    = 0.99
)

// TargetAddr is a target host as the operator names it.
type TargetAddr struct {
	// Name must match the DNS name of the target's certificate. Empty: the
	// certificate must hold the IP address of Addr, and the target tells its name.
	Name string
	Addr netip.AddrPort
}

// String gives the address as it is written on the command line.
func (t TargetAddr) String() string {
	if t.Name == "" {
		return t.Addr.String()
	}
	return t.Name + "=" + t.Addr.String()
}

// MaxGroups bounds SendConfig.MaxGroups and MaxMemberships.
const MaxGroups = groups.MaxGroups

// DefaultBalance is how much more than its share a target may get, as a part of it.
const DefaultBalance = 0.25

// DefaultPort is where targets listen unless told otherwise.
const DefaultPort = 7400

// DefaultGroupPort is the UDP port of groups unless told otherwise.
const DefaultGroupPort = 9770

// Bounds of an MTU: IPv6's least, and that of jumbo frames, in bytes.
const (
	MinMTU = 1280
	MaxMTU = 9216
)

// DefaultRunDir holds journals and sockets. It must survive a crash of
// scatter, not of the host: with the host its VMs are gone too.
const DefaultRunDir = "/run/scatter"

// RecoverConfig configures [Recover].
type RecoverConfig struct {
	RunDir string // where send or recv kept its journal
	TLSDir string // default: the directory that the journal names
	DryRun bool   // only say what would be done
	Run    string // on a target: name of a complete VM to run, whose source is known to be dead; nothing else is done
	Log    *slog.Logger
}

// Where says on which side a VM lives.
type Where string

const (
	OnSource Where = "source"
	OnTarget Where = "target"
	InDoubt  Where = "doubt"
	Ended    Where = "ended" // it runs nowhere: it has ended by itself, or its QEMU has
)

// Recovered tells what became of one VM after a crash.
type Recovered struct {
	VM     string `json:"vm"`
	Where  Where  `json:"where"`
	Host   string `json:"host,omitempty"` // target's name
	Action string `json:"action"`         // what Recover did, or what the operator must do
}

// RecoverReport is the outcome of [Recover].
type RecoverReport struct {
	VMs []Recovered `json:"vms"`
}

// Event is a fact about a running evacuation. Fields that a type does not use
// are zero.
type Event struct {
	Type     string    `json:"type"` // stage, vm, scan, progress, warning, blocker, done
	Time     time.Time `json:"time"`
	Stage    string    `json:"stage,omitempty"` // of the evacuation or of VM
	VM       string    `json:"vm,omitempty"`
	Host     string    `json:"host,omitempty"`
	Bytes    int64     `json:"bytes,omitempty"`      // in place so far (progress): RAM of VM, or distinct contents of all
	Total    int64     `json:"total,omitempty"`      // of Bytes
	WireRate int64     `json:"wire_rate,omitempty"`  // bytes/s leaving the source, last second
	WireSent int64     `json:"wire_bytes,omitempty"` // bytes that left the source so far
	Message  string    `json:"message,omitempty"`
}

// Blocker is a reason why a VM, or the whole evacuation, cannot move.
type Blocker struct {
	VM      string `json:"vm,omitempty"`
	Host    string `json:"host,omitempty"`
	Problem string `json:"problem"`
	Remedy  string `json:"remedy,omitempty"`
	Risk    bool   `json:"risk,omitempty"` // the VM could move, and might be damaged: SendConfig.Force moves it
}

func (b Blocker) String() string {
	s := b.Problem
	switch {
	case b.VM != "" && b.Host != "":
		s = fmt.Sprintf("vm %s on host %s: %s", b.VM, b.Host, s)
	case b.VM != "":
		s = fmt.Sprintf("vm %s: %s", b.VM, s)
	case b.Host != "":
		s = fmt.Sprintf("host %s: %s", b.Host, s)
	}
	if b.Remedy != "" {
		s += " (" + b.Remedy + ")"
	}
	return s
}

// BlockedError says that nothing was moved, and why.
type BlockedError struct{ Blockers []Blocker }

func (e *BlockedError) Error() string {
	if len(e.Blockers) == 1 {
		return "nothing moved: " + e.Blockers[0].String()
	}
	return fmt.Sprintf("nothing moved: %d blockers, first: %s", len(e.Blockers), e.Blockers[0])
}

// ErrCancelled is the cause of a context that the operator cancelled.
var ErrCancelled = errors.New("cancelled by the operator")

// Pages counts pages of guest RAM, and of disks that travel.
type Pages struct {
	Total  int64 `json:"total"`
	Zero   int64 `json:"zero"`   // untouched or all zero
	Shared int64 `json:"shared"` // equal to a page of another VM
	Unique int64 `json:"unique"` // in no other VM
	Hot    int64 `json:"hot"`    // changed between the two looks
	Resent int64 `json:"resent"` // sent by converge: hot, or changed after bulk
}

// GroupStats counts what the switches had to do.
type GroupStats struct {
	Count  int   `json:"count"`  // target sets with a group
	Joins  int64 `json:"joins"`  // by all targets, as they have told
	Leaves int64 `json:"leaves"` // likewise
}

// StageTime is when a VM entered a stage, in seconds since the start.
type StageTime struct {
	Stage string  `json:"stage"`
	AtS   float64 `json:"at_s"`
}

// VMReport is the outcome for one VM.
type VMReport struct {
	Name        string      `json:"name"`
	Host        string      `json:"host"`
	State       string      `json:"state"` // evacuated, on-source, ended, in-doubt
	Cause       string      `json:"cause,omitempty"`
	DowntimeMS  float64     `json:"downtime_ms"`            // source stopped until the target ran
	PredictedMS int64       `json:"predicted_downtime_ms"`  // the same, by the plan
	PredictedS  float64     `json:"predicted_time_s"`       // when the plan expected it to run on its host; 0 = the rate was not known
	Mode        Mode        `json:"mode,omitempty"`         // in which it moved
	PlannedMode Mode        `json:"planned_mode,omitempty"` // in which it was to
	ModeReason  string      `json:"mode_reason,omitempty"`  // why in that
	Stages      []StageTime `json:"stages"`
	Bytes       int64       `json:"bytes"` // converge bytes, as sent
	Passes      int         `json:"passes"`
	ThrottledS  float64     `json:"throttled_s"`         // of its processor time that was taken from it
	PostCopy    *PostCopy   `json:"post_copy,omitempty"` // what there was to say of it; nil: it took over with all of its memory
	Verified    bool        `json:"verified"`
	LeftOut     []LeftOut   `json:"verify_left_out,omitempty"` // of the comparison
}

// PostCopy is how a VM fared that took over before it had all of its memory.
type PostCopy struct {
	ExposedS float64 `json:"exposed_s"` // for which it lived on both hosts, from when it ran on its target

	PredictedS float64 `json:"predicted_exposed_s"` // by the plan

	Bytes     int64 `json:"bytes"`                // of the pages that it lacked then
	DiskBytes int64 `json:"disk_bytes,omitempty"` // of these, of its disks

	Faults  int64   `json:"faults"`   // pages that its guest has waited for
	FaultMS float64 `json:"fault_ms"` // for half of them at most as long
	MostMS  float64 `json:"most_ms"`  // for 99 of 100 at most as long
}

// LeftOut is some bytes of RAM that were not compared, because loading a VM changes them.
type LeftOut struct {
	Block  string `json:"block"` // RAM block
	Offset uint64 `json:"offset"`
	Bytes  uint32 `json:"bytes"`
	Why    string `json:"why"`
}

// HostReport is how datagrams fared at one target.
type HostReport struct {
	Name    string `json:"name"`
	Joins   int64  `json:"joins"`
	Leaves  int64  `json:"leaves"`
	Unicast int64  `json:"unicast_groups"` // groups that did not serve it, so that it got their blocks by unicast
	Dropped int64  `json:"dropped"`        // datagrams that its kernel dropped, because its socket buffers were full

	CPUS        float64 `json:"cpu_s"`        // seconds that recv there has computed meanwhile, for whomever
	MemoryBytes int64   `json:"memory_bytes"` // that it had resident at most
}

// Report is the outcome of an evacuation. Byte counts are as on the wire,
// with all headers down to Ethernet's where scatter can know them.
type Report struct {
	TotalTimeS     float64    `json:"total_time_s"`
	SourceBytes    int64      `json:"source_bytes"`
	MulticastBytes int64      `json:"multicast_bytes"`
	UnicastBytes   int64      `json:"unicast_bytes"`
	RepairBytes    int64      `json:"repair_bytes"`
	ConvergeBytes  int64      `json:"converge_bytes"`
	ControlBytes   int64      `json:"control_bytes"`
	CPUS           float64    `json:"cpu_s"`        // seconds that this process has computed
	MemoryBytes    int64      `json:"memory_bytes"` // that it had resident at most
	Pages          Pages      `json:"pages"`
	Group          GroupStats `json:"group"`
	Plan           struct {
		PredictedBytes int64   `json:"predicted_bytes"`
		PredictedTimeS float64 `json:"predicted_time_s"`
	} `json:"plan"`
	Deadline *Deadline    `json:"deadline,omitempty"` // nil: there was none
	VMs      []VMReport   `json:"vms"`
	Hosts    []HostReport `json:"hosts"`
	Warnings []string     `json:"warnings,omitempty"`
}

// Deadline is the time after which the host was to be empty.
type Deadline struct {
	S   float64 `json:"s"`   // seconds since the start
	Met bool    `json:"met"` // it was
}

// Outcome sums up a report for an exit code.
type Outcome int

const (
	AllEvacuated Outcome = iota
	SomeEnded            // some VMs have ended by themselves; none is left on the source
	SomeStay             // some VMs are on the source
	SomeInDoubt          // an operator must look
)

// Outcome returns the worst that happened to any VM.
func (r *Report) Outcome() Outcome {
	worst := AllEvacuated
	for _, v := range r.VMs {
		switch v.State {
		case "in-doubt":
			return SomeInDoubt
		case "evacuated":
		case "ended":
			worst = max(worst, SomeEnded)
		default:
			worst = SomeStay
		}
	}
	return worst
}

// MaxHold is the longest Hold of a CheckConfig.
const MaxHold = 10 * time.Minute

// ParseTarget reads what TargetAddr.String wrote.
func ParseTarget(s string) (TargetAddr, error) {
	name, addr, ok := strings.Cut(s, "=")
	if !ok {
		name, addr = "", s
	}
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return TargetAddr{}, fmt.Errorf("target %q: %w", s, err)
	}
	return TargetAddr{Name: name, Addr: a}, nil
}

// Named is the message of a warning, with the host that it is about.
func (ev Event) Named() string {
	if ev.Host == "" || strings.Contains(ev.Message, ev.Host) {
		return ev.Message
	}
	return ev.Host + ": " + ev.Message
}

// WindowBytes bounds the blocks that are on their way and kept for repair, and with them the memory of both sides.
const WindowBytes = 24 << 20

// MaxListen bounds how long a target listens to probes: twice the longest hold, and some.
const MaxListen = 2*MaxHold + time.Minute

// TryTimeout bounds one try of a VM on a target that has processors to spare, TryMost one on any target.
const (
	TryTimeout = 20 * time.Second
	TryMost    = 2 * time.Minute
)
