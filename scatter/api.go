// Package scatter is the engine that evacuates running virtual machines from
// one host to many.
//
// The source side is [Evacuate] (and [MakePlan], which stops before anything
// moves), the target side is [Receive], and [Recover] decides after a crash
// where each VM lives. The stages of an evacuation are discover, preflight,
// scan, plan, prepare, bulk, converge, switch-over and report; ARCHITECTURE.md
// follows a page through all of them.
//
// The decisions about each VM are taken by a pure step function (see package handover):
// it has no clock, socket or goroutine, and all its rules about where a VM may
// run are tested by exhaustive and random event orders. Everything that blocks
// lives in the drivers around it.
package scatter

import (
	"context"
	"io"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/bounds"
	"github.com/scatter-vm/scatter/scatter/inspect"
	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/move"
	"github.com/scatter-vm/scatter/scatter/outlet"
	"github.com/scatter-vm/scatter/scatter/pki"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/source"
	"github.com/scatter-vm/scatter/scatter/target"
)

// Words that all of the engine shares.
type (
	TargetAddr    = model.TargetAddr
	OnStall       = model.OnStall
	Mode          = model.Mode
	Disks         = model.Disks
	Prefetch      = model.Prefetch
	Event         = model.Event
	Blocker       = model.Blocker
	BlockedError  = model.BlockedError
	Pages         = model.Pages
	GroupStats    = model.GroupStats
	StageTime     = model.StageTime
	Report        = model.Report
	VMReport      = model.VMReport
	HostReport    = model.HostReport
	LeftOut       = model.LeftOut
	Outcome       = model.Outcome
	Where         = model.Where
	RecoverConfig = model.RecoverConfig
	RecoverReport = model.RecoverReport
	Recovered     = model.Recovered
	JournalError  = journal.Error
)

// Defaults, bounds and values of these.
const (
	ProtocolVersion  = model.ProtocolVersion
	PageSize         = model.PageSize
	DefaultPort      = model.DefaultPort
	DefaultGroupPort = model.DefaultGroupPort
	DefaultBalance   = model.DefaultBalance
	DefaultRunDir    = model.DefaultRunDir
	DefaultThrottle  = model.DefaultThrottle
	MostThrottle     = model.MostThrottle
	DefaultSlowRatio = multicast.DefaultSlowRatio
	MaxGroups        = model.MaxGroups
	MaxHold          = model.MaxHold
	MinMTU           = model.MinMTU
	MaxMTU           = model.MaxMTU

	StallKeep     = model.StallKeep
	StallPause    = model.StallPause
	StallThrottle = model.StallThrottle
	StallPost     = model.StallPost
	StallAny      = model.StallAny

	ModeAuto     = model.ModeAuto
	ModePre      = model.ModePre
	ModeThrottle = model.ModeThrottle
	ModeHybrid   = model.ModeHybrid
	ModePost     = model.ModePost

	DisksNone = model.DisksNone
	DisksPre  = model.DisksPre
	DisksPost = model.DisksPost
	DisksAuto = model.DisksAuto

	OnSource = model.OnSource
	OnTarget = model.OnTarget
	InDoubt  = model.InDoubt
	Ended    = model.Ended

	AllEvacuated = model.AllEvacuated
	SomeEnded    = model.SomeEnded
	SomeStay     = model.SomeStay
	SomeInDoubt  = model.SomeInDoubt
)

var (
	// ErrCancelled is the cause of a context that the operator cancelled.
	ErrCancelled = model.ErrCancelled
	// ErrJournalBusy says that a living process owns the journal.
	ErrJournalBusy = journal.ErrBusy
)

// Plans, and what they are made from.
type (
	Plan        = planning.Plan
	PlanVM      = planning.PlanVM
	PlanHost    = planning.PlanHost
	PlanGroup   = planning.PlanGroup
	PlanBalance = planning.PlanBalance
	PlanTraffic = planning.PlanTraffic
	PlanClasses = planning.PlanClasses
	PlanSharing = planning.PlanSharing
	Problem     = planning.Problem
	Constraint  = planning.Constraint
	Network     = planning.Network
	Rules       = planning.Rules
	HostRules   = planning.HostRules
)

// Formats, objectives and capacities of plans.
const (
	PlanFormat        = planning.PlanFormat
	ObjectiveTraffic  = planning.ObjectiveTraffic
	ObjectiveMakespan = planning.ObjectiveMakespan
	ObjectiveHosts    = planning.ObjectiveHosts
	CapacitySum       = planning.CapacitySum
	CapacityShared    = planning.CapacityShared
)

// ReadPlan reads a plan that was kept, as JSON.
func ReadPlan(r io.Reader) (*Plan, error) { return planning.ReadPlan(r) }

// ReadProblem reads a problem as JSON. Fields that it does not know are errors.
func ReadProblem(r io.Reader) (*Problem, error) { return planning.ReadProblem(r) }

// ReadRules reads rules as JSON. Fields that it does not know are errors.
func ReadRules(r io.Reader) (Rules, error) { return planning.ReadRules(r) }

// RulesOf makes rules of what another format has decoded to, such as a TOML file's tables.
func RulesOf(tables map[string]any) (Rules, error) { return planning.RulesOf(tables) }

// PlanProblem makes the plan of an evacuation that is only described. When it is infeasible, the plan names the conflict and the error
// is a *BlockedError.
func PlanProblem(ctx context.Context, p Problem, net Network) (*Plan, error) {
	return planning.PlanProblem(ctx, p, net)
}

// Anonymise gives a copy of a problem in which every name is replaced by a number; all else stays.
func Anonymise(p *Problem) *Problem { return planning.Anonymise(p) }

// Pin is the constraint that puts a VM on a certain host.
func Pin(name, vm, host string) Constraint { return planning.Pin(name, vm, host) }

// What [Evacuate], [MakePlan] and [Receive] take.
type (
	SendConfig = source.Config
	Outlet     = outlet.Outlet
	RecvConfig = target.Config
	Limit      = bounds.Limit
	StallError = model.StallError
)

// NewOutlet makes what evacuations of one process share that leave by the same interface: a rate in bytes/s on the wire, 0 = what the path
// carries, and multicast addresses.
func NewOutlet(rate int64) *Outlet { return outlet.New(rate) }

// Evacuate moves the VMs and returns what became of each. It returns an error only when nothing was moved;
// *BlockedError lists the reasons. Once VMs move, failures are in the report.
//
// When ctx ends, VMs that are not yet switched over stay on the source, and Evacuate returns when
// they are known to run there.
func Evacuate(ctx context.Context, cfg SendConfig) (*Report, error) { return move.Evacuate(ctx, cfg) }

// MakePlan does all that Evacuate does before anything moves, and returns the plan.
func MakePlan(ctx context.Context, cfg SendConfig) (*Plan, error) { return move.MakePlan(ctx, cfg) }

// Receive serves evacuations until ctx ends. VMs that wait for pages are then given up, VMs that are loaded or run
// stay as they are.
func Receive(ctx context.Context, cfg RecvConfig) error { return target.Receive(ctx, cfg) }

// PassOver tells why a QMP socket of this host leads to no VM that could move; nil if it does.
func PassOver(ctx context.Context, socket string) error { return source.PassOver(ctx, socket) }

// ErrHeld says that another client holds a VM's monitor.
var ErrHeld = source.ErrHeld

// What [Check] takes and finds.
type (
	CheckConfig = inspect.Config
	Finding     = inspect.Finding
)

// Check looks whether this host, and the way to cfg.Targets, have what an evacuation takes. It changes nothing. The error is
// only about checking itself; what is wrong with a host is a finding.
func Check(ctx context.Context, cfg CheckConfig) ([]Finding, error) { return inspect.Check(ctx, cfg) }

// OwnNames is what this host is called by its certificate; nothing if there is none.
func OwnNames(tlsDir string) []string { return pki.OwnNames(tlsDir) }
