// Package hypervisor is what scatter needs of whatever owns the VMs of a host: to describe one, to start, hold and end its migration, to start one
// that waits for its stream, to let it run, and to end it. Package qmp does this with QEMU's own monitor. All of them drive QEMU, so run
// states, events and the stream are in QEMU's words.
package hypervisor

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/image"
	"github.com/scatter-vm/scatter/qemu/inventory"
	"github.com/scatter-vm/scatter/qemu/nbd"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/system"
)

// Source is a VM on the host that it leaves. Its methods may be called from any goroutine, obey their contexts, and name the VM in their errors.
// A *qemu.QMPError in the chain of an error says that the hypervisor has refused, and that the VM is as it was.
type Source interface {
	Described
	Runs
	Migration
	Mirrors
	Exports
	// Close lets go of the VM, which stays as it is.
	Close() error
}

// Described tells what a VM is now.
type Described interface {
	// Examine finds out what the VM consists of, and all that hinders its migration, or bends it: that is a *model.BlockedError, with which the
	// description holds all the same where every blocker is a risk. Nothing is changed.
	Examine(ctx context.Context) (Description, error)
	// CPUWords is what the VM's first processor offers to the guest.
	CPUWords(ctx context.Context) ([]qemu.CPUWord, error)
	// CPUFlags names the switches of the VM's processor that are on and off; of names, if any are given.
	CPUFlags(ctx context.Context, names ...string) (on, off []string, err error)
	// Outline is what the two ends of a migration must have alike: disks with their layers, and devices.
	Outline(ctx context.Context) (inventory.Outline, error)
	// RAMBlocks lists its memory.
	RAMBlocks(ctx context.Context) ([]qemu.RAMBlock, error)
	// Disks are those that it writes to.
	Disks(ctx context.Context) ([]Disk, error)
	// Address finds a guest physical address in the RAM blocks that were found; ok is false where there is no RAM.
	Address(ctx context.Context, gpa uint64) (block int, offset uint64, ok bool, err error)
}

// Description is what another host must know of a VM to start one that is the same.
type Description struct {
	Argv    []string       // of a QEMU that is the VM as it is now
	Named   []string       // the same, with names for the nodes of all disks that can travel: those without one cannot be led past their images
	Memory  int64          // bytes, for which it has to have room
	Written []control.File // files that its disks write to
	Disks   []Disk         // that it writes to
	Limits  []control.Limits

	Networks int      // that its cards are on
	Remarks  []string // what does not hinder it, and should be known
}

// Disk is one that a VM writes to.
type Disk struct {
	Node   string // or the name of a drive, by which Mirror knows it
	File   string // its image, by the VM's own name of it
	Path   string // the same, as it is seen from here
	Inode  uint64
	Bytes  int64
	Data   int64  // of these, that the image has on its file system
	Direct bool   // the VM passes by the host's page cache
	Stays  string // why it cannot travel; "" if it can

	// Qcow2 is how its image is made, where that is no raw one: then it is read as Layer.
	Qcow2 *control.Qcow2
	Layer string // the name by which Export knows it

	Backing []control.Backing // the images below it, without their sums
	Below   []string          // these, as they are seen from here
}

// New describes the disk to a target that is to make it; perhaps: unless it has it.
func (d Disk) New(perhaps bool) control.NewDisk {
	n := control.NewDisk{Path: d.File, Bytes: d.Bytes, Data: d.Data, Qcow2: d.Qcow2, Backing: d.Backing}
	if perhaps {
		n.Inode = d.Inode
	}
	return n
}

// SumBacking completes what is said of the images below the disk.
func (d Disk) SumBacking(ctx context.Context, sums *image.Sums) (err error) {
	for i, path := range d.Below {
		if d.Backing[i].Sum, err = sums.Of(ctx, path); err != nil {
			return fmt.Errorf("backing file %s: %w", d.Backing[i].Path, err)
		}
	}
	return nil
}

// Runs lets a VM's processors run, and tells whether they do.
type Runs interface {
	// Status is the run state.
	Status(ctx context.Context) (qemu.RunState, error)
	// Stop stops the VM, Cont continues it. Both return when that is done.
	Stop(ctx context.Context) error
	Cont(ctx context.Context) error
	// Quit ends the VM's QEMU, without a word to the guest: it lives elsewhere. It returns when the QEMU has gone, or has said that it goes.
	Quit(ctx context.Context) error
	// Subscribe follows what the hypervisor tells of the VM by itself: STOP, RESUME, SUSPEND, WAKEUP, SHUTDOWN, MIGRATION_PASS.
	Subscribe(buffer int) *qemu.Subscription
	// Err is why nothing more can be asked; nil as long as it can.
	Err() error
}

// Migration is that of a VM into a socket of ours. The VM goes on by itself when that is closed before SHUT(0) was written to it.
type Migration interface {
	// Ready makes migration settings as they have to be; Restore puts them back, also those of Hold. Settings are those that they had.
	// postCopy: StartPostcopy may be called.
	Ready(ctx context.Context, postCopy bool) error
	Restore(ctx context.Context) error
	Settings() Settings
	// Unsettled tells whether settings are not as they were.
	Unsettled() bool
	// Hold is Ready for a migration that does not switch over by itself, whatever remains; rate is what the way to its target carries, in bytes/s.
	// throttle: the VM may be throttled meanwhile.
	Hold(ctx context.Context, rate int64, throttle, postCopy bool) error
	// StartPostcopy has it switch over soon, whatever remains, which its stream goes on with behind the device state. The VM does not run by itself
	// again from there on, whatever becomes of the stream, as long as that is not read any further.
	StartPostcopy(ctx context.Context) error
	// Complete ends a migration that StartPostcopy has switched over and SHUT(0) was written to, once nothing more is wanted of its stream, behind the
	// device state. EndMigration does so for a stream that was lost, whether that was written or not; then Cont continues the VM here.
	Complete(ctx context.Context, stream net.Conn) error
	// Brake throttles it, from Hold on.
	Brake() Brake
	// Migrate starts the migration and returns its stream, of which both directions are ours.
	Migrate(ctx context.Context) (net.Conn, error)
	// QueryMigrate tells how it stands.
	QueryMigrate(ctx context.Context) (qemu.MigrationInfo, error)
	// LetSwitch has it switch over once remaining bytes, of which most are never sent, are all that is left; limit and rate are what was expected.
	LetSwitch(ctx context.Context, remaining int64, limit time.Duration, rate int64) error
	// AwaitCompleted returns when the VM is given away: after SHUT(0).
	AwaitCompleted(ctx context.Context) error
	// EndMigration sees that none is under way any more.
	EndMigration(ctx context.Context) error
	// WhyClosed puts into words why the stream has ended, which err only says.
	WhyClosed(ctx context.Context, err error) error
}

// Mirrors tell of what a VM's guest writes to its disks. They end with this process, and the guest waits for none of them.
type Mirrors interface {
	// Mirror has each write to a disk from now on told to d, which must answer at once; those that are under way are told as well.
	Mirror(ctx context.Context, node string, bytes int64, d nbd.Device) error
	// EndMirrors ends them where the VM stands still, and returns when all was told that it has written. A VM with mirrors waits for Proceed at its
	// switch-over: its migration is then pre-switchover.
	EndMirrors(ctx context.Context) error
	Proceed(ctx context.Context) error
	// DropMirrors ends them at any time, whatever they have not told; so does Restore.
	DropMirrors(ctx context.Context) error
}

// Exports are disks that the VM's hypervisor serves to us, as its guest sees them: those whose images nobody else can read while it has them open.
type Exports interface {
	// Export serves disks, and returns a connection to each, which tells what of it is allocated, or in which layer. Close ends them.
	Export(ctx context.Context, disks []Disk) ([]*nbd.Client, error)
}

// Brake takes processor time from a VM.
type Brake interface {
	// Most is the share of what the VM uses that can be taken from it without having it stand still between times, 0 to less than 1. It may be asked
	// before Hold.
	Most() float64
	// Take takes a share of the processor time that the VM uses from it, until it is told another one; 0 gives it all back. It ends by itself when this
	// process does.
	Take(ctx context.Context, share float64) error
	// Taken is the share that is taken now, which may take a pass to follow what was ordered.
	Taken(now qemu.MigrationInfo) float64
}

// Settings are migration settings as a journal keeps them.
type Settings struct {
	Caps   map[string]bool
	Params qemu.Parameters
}

// Host starts VMs on the host that they go to.
type Host interface {
	// Start starts what a source describes, and returns when it waits for its stream. After an error nothing of it is left.
	Start(ctx context.Context, p control.Prepare) (*system.Process, Target, error)
	// Reopen takes hold of a VM again that a journal names, if it still lives and is the one that was meant. Without the monitor, which may be
	// another's by now, there is only its process.
	Reopen(ctx context.Context, rec handover.Record, monitor bool) (*system.Process, Target, error)
	// EndUnrecorded ends what was being started under this name when a receiver was killed, and says how many there were; dry: only that.
	EndUnrecorded(name string, dry bool) (int, error)
}

// Routes lead the disks of a VM past their images, to a server of ours, and back. The guest notices neither.
type Routes interface {
	// FindRoutes finds how, for the disks whose images have these inodes. An error says why one of them cannot be led so.
	FindRoutes(ctx context.Context, inodes []uint64) ([]handover.Route, error)
	// LeadPast has each disk read from and written to the NBD server at a unix socket, by the name that DiskName gives its number; it comes back to one that was
	// away. LeadBack has it read from and written to its image. Where that is so already, nothing is done.
	LeadPast(ctx context.Context, routes []handover.Route, socket string) error
	LeadBack(ctx context.Context, routes []handover.Route) error
}

// DiskName is the name of an export, by the number of its disk among those that travel.
func DiskName(disk int) string { return "disk" + strconv.Itoa(disk) }

// Target is a VM that waits for its migration stream, and runs once it is told to. Its methods may be called from any goroutine.
type Target interface {
	Routes
	// Describe tells its process and its RAM blocks.
	Describe(ctx context.Context) (*qemu.VM, error)
	// MigrateIncoming opens the way into it, of which both directions are ours.
	MigrateIncoming(ctx context.Context) (net.Conn, error)
	// RecoverIncoming opens another way into a VM that runs without some of its pages, once the one before is lost: it wants to be resumed. There is
	// none into one that has all of them: nil.
	RecoverIncoming(ctx context.Context) (net.Conn, error)
	// Outline is what it must have alike with its source.
	Outline(ctx context.Context) (inventory.Outline, error)
	// Run continues a VM that is loaded, unless it was paused on the source, and tells the network where it is now. It returns when the VM's own
	// QEMU says how it stands. A RefusedError says that it does not run. An error with qemu.ErrMonitorClosed in its chain says that nothing more
	// can be asked, and ran whether the VM has run, for a moment at least. After any other error nobody knows yet.
	Run(ctx context.Context, state string) (ran bool, err error)
	// Settle puts back what its move has changed of its migration settings.
	Settle(ctx context.Context) error
	// Done is closed when nothing more can be asked, and Err says why then.
	Done() <-chan struct{}
	Err() error
	// Close leaves the monitor to others.
	Close() error
}

// RefusedError says that a VM was not run. It is as it was before, unless its QEMU has ended.
type RefusedError struct{ Err error }

func (e RefusedError) Error() string { return e.Err.Error() }

func (e RefusedError) Unwrap() error { return e.Err }
