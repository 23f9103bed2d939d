package qemu

import (
	"context"

	"github.com/scatter-vm/scatter/qemu/cmdline"
	"github.com/scatter-vm/scatter/qemu/confine"
	"github.com/scatter-vm/scatter/qemu/memory"
	"github.com/scatter-vm/scatter/qemu/monitor"
	"github.com/scatter-vm/scatter/qemu/policy"
	"github.com/scatter-vm/scatter/qemu/process"
	"github.com/scatter-vm/scatter/qemu/ram"
	"github.com/scatter-vm/scatter/qemu/rehearsal"
	"github.com/scatter-vm/scatter/qemu/survey"
	"github.com/scatter-vm/scatter/qemu/vmname"
)

// This file has the names under which others know what sub-packages own.

// Bounds of connections to monitors.
const (
	DialTimeout    = monitor.DialTimeout    // bounds Dial when its context has no deadline
	MaxInFlight    = monitor.MaxInFlight    // commands that QEMU is given before it answered the first
	MaxLine        = monitor.MaxLine        // bytes of one QMP message
	MaxEventBuffer = monitor.MaxEventBuffer // events of a Subscription
)

var (
	// ErrMonitorClosed is in the chain of every error that a Client returns after its connection ended, be it by
	// Close or because QEMU went away.
	ErrMonitorClosed = monitor.ErrClosed
	// ErrMonitorBusy says that something listens on the QMP socket but sent no greeting in time.
	ErrMonitorBusy = monitor.ErrBusy
	// ErrNoAddress says that QEMU did not tell where in its address space a RAM block lies.
	ErrNoAddress = memory.ErrNoAddress
	// ErrProcessGone says that the process whose memory was used has ended.
	ErrProcessGone = memory.ErrProcessGone
	// ErrNoUserfault says that no thread of the process waits for pages, nor will.
	ErrNoUserfault = memory.ErrNoUserfault
)

// What a monitor says.
type (
	Event         = monitor.Event         // something that QEMU reports unasked, such as STOP or MIGRATION
	Subscription  = monitor.Subscription  // one reader's own queue of events
	QMPError      = monitor.QMPError      // QEMU's refusal of a command
	ProtocolError = monitor.ProtocolError // a message that no QEMU sends
	RunState      = monitor.RunState      // what query-status tells
	CPUWord       = monitor.CPUWord       // one register that the CPUID instruction shows to a guest
)

// MonitorPID is the process that listens on a QMP unix socket. It is known also while another client has the monitor.
func MonitorPID(ctx context.Context, socket string) (int, error) { return monitor.PID(ctx, socket) }

// Of migrations.
type (
	MigrationStatus = monitor.MigrationStatus // the state of one
	MigrationInfo   = monitor.MigrationInfo   // how one goes
	MigrationRAM    = monitor.MigrationRAM    // what one has sent of memory
	Parameters      = monitor.Parameters      // steer one
)

// The states of a migration.
const (
	MigrationNone                 = monitor.MigrationNone
	MigrationSetup                = monitor.MigrationSetup
	MigrationActive               = monitor.MigrationActive
	MigrationPreSwitchover        = monitor.MigrationPreSwitchover
	MigrationDevice               = monitor.MigrationDevice
	MigrationPostcopyDevice       = monitor.MigrationPostcopyDevice
	MigrationPostcopyActive       = monitor.MigrationPostcopyActive
	MigrationPostcopyPaused       = monitor.MigrationPostcopyPaused
	MigrationPostcopyRecover      = monitor.MigrationPostcopyRecover
	MigrationPostcopyRecoverSetup = monitor.MigrationPostcopyRecoverSetup
	MigrationCancelling           = monitor.MigrationCancelling
	MigrationCancelled            = monitor.MigrationCancelled
	MigrationCompleted            = monitor.MigrationCompleted
	MigrationFailed               = monitor.MigrationFailed
)

// Of guest memory.
type (
	RAMBlock    = ram.Block          // a piece of it as QEMU keeps it
	Userfault   = memory.Userfault   // puts pages in place for which it waits
	Memory      = memory.Memory      // reads and writes it through the kernel
	PageRef     = memory.PageRef     // names one page
	AccessError = memory.AccessError // the kernel does not let us at it
)

const (
	PageSize  = ram.PageSize  // bytes of the unit in which guest memory is handled
	MaxBlocks = ram.MaxBlocks // RAM blocks of one VM
)

// TCGTracksWrites is the first QEMU that tracks the writes of emulated (TCG) guests to the first block of their RAM while it migrates them.
var TCGTracksWrites = ram.TCGTracksWrites

// OpenMemory opens the memory of a QEMU process.
func OpenMemory(pid int, blocks []RAMBlock) (*Memory, error) { return memory.Open(pid, blocks) }

// Of the launch policy.
type (
	LaunchPolicy = policy.Policy          // decides which command lines of a source may be started on this host, and how they change on the way
	PortRange    = policy.PortRange       // the TCP ports from First to Last
	Rewrite      = policy.Rewrite         // replaces the beginning of paths
	Command      = policy.Command         // a command line to start, and what the kernel is to let it do
	PolicyError  = policy.Error           // an option of a command line that the policy refuses
	PolicyErrors = policy.Errors          // all of one command line
	Programs     = survey.Programs        // surveys QEMU programs, each once as long as its file stays the same
	Survey       = survey.Survey          // what a QEMU program says of itself
	Claims       = rehearsal.Claims       // what a VM has for itself on its host
	UntriedError = rehearsal.UntriedError // why a command line cannot be tried
)

// MaxName is the length of the longest VM name, in bytes.
const MaxName = vmname.Max

// NameError is a VM name that cannot be used in the names of files.
type NameError = vmname.Error

// CheckName tells whether name can be used in the names of files: the error is a *NameError.
func CheckName(name string) error { return vmname.Check(name) }

// Alias is the name by which a VM is known here: its own, if that can be used in the names of files.
func Alias(own string) string { return vmname.Alias(own) }

// StartTime is when a process began, in clock ticks since boot: it tells a reused pid apart.
func StartTime(pid int) (uint64, error) { return process.StartTime(pid) }

// Confinement is what the kernel lets one QEMU get at.
type Confinement = confine.Confinement

// CanConfine tells whether this kernel can confine a QEMU to its files, and whether to its ports.
func CanConfine() (files, ports bool) { return confine.Possible() }

// Argument is one option of a QEMU command line.
type Argument = cmdline.Argument

// Pair is one key of an option's value.
type Pair = cmdline.Pair

// Arguments splits a command line, without its program, into options.
func Arguments(words []string) []Argument { return cmdline.Arguments(words) }

// ParseKeyval reads key=value,key=value as QEMU does.
func ParseKeyval(s, implied string) ([]Pair, error) { return cmdline.ParseKeyval(s, implied) }

// FormatKeyval is the inverse of ParseKeyval.
func FormatKeyval(pairs []Pair, implied string) string { return cmdline.FormatKeyval(pairs, implied) }

// MemoryOf is the memory that a command line asks its host for, in bytes.
func MemoryOf(argv []string) (int64, error) { return cmdline.MemoryOf(argv) }
