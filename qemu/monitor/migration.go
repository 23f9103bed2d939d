package monitor

import (
	"context"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// MigrationStatus is the state of a migration. The zero value means that there was none.
type MigrationStatus string

// The states that query-migrate reports.
const (
	MigrationNone                 MigrationStatus = "none"
	MigrationSetup                MigrationStatus = "setup"
	MigrationActive               MigrationStatus = "active"
	MigrationPreSwitchover        MigrationStatus = "pre-switchover"
	MigrationDevice               MigrationStatus = "device"
	MigrationPostcopyDevice       MigrationStatus = "postcopy-device"
	MigrationPostcopyActive       MigrationStatus = "postcopy-active"
	MigrationPostcopyPaused       MigrationStatus = "postcopy-paused"
	MigrationPostcopyRecover      MigrationStatus = "postcopy-recover"
	MigrationPostcopyRecoverSetup MigrationStatus = "postcopy-recover-setup"
	MigrationCancelling           MigrationStatus = "cancelling"
	MigrationCancelled            MigrationStatus = "cancelled"
	MigrationCompleted            MigrationStatus = "completed"
	MigrationFailed               MigrationStatus = "failed"
)

// Ended tells whether nothing more will happen in this migration.
func (s MigrationStatus) Ended() bool {
	return s == MigrationCompleted || s == MigrationFailed || s == MigrationCancelled
}

// Idle tells whether no migration is under way.
func (s MigrationStatus) Idle() bool { return s == "" || s == MigrationNone || s.Ended() }

// PostCopy tells whether the source has given its VM to a target that may lack pages: it does not run it by itself again, and must not be ended.
func (s MigrationStatus) PostCopy() bool {
	switch s {
	case MigrationPostcopyDevice, MigrationPostcopyActive, MigrationPostcopyPaused, MigrationPostcopyRecover, MigrationPostcopyRecoverSetup:
		return true
	}
	return false
}

// MigrationInfo is the answer to query-migrate. Times are in milliseconds.
type MigrationInfo struct {
	Status             MigrationStatus `json:"status"`
	RAM                *MigrationRAM   `json:"ram"` // nil before the migration is active
	TotalTime          int64           `json:"total-time"`
	SetupTime          int64           `json:"setup-time"`
	Downtime           int64           `json:"downtime"`
	ExpectedDowntime   int64           `json:"expected-downtime"`
	ThrottlePercentage int64           `json:"cpu-throttle-percentage"`
	ErrorDesc          string          `json:"error-desc"`
	BlockedReasons     []string        `json:"blocked-reasons"` // why QEMU would refuse to migrate
}

// MigrationRAM counts memory, in bytes if not said otherwise.
type MigrationRAM struct {
	Total             int64   `json:"total"`
	Remaining         int64   `json:"remaining"`
	Transferred       int64   `json:"transferred"` // into the socket, which is not yet the network
	Duplicate         int64   `json:"duplicate"`   // zero pages, in pages
	Normal            int64   `json:"normal"`      // other pages, in pages
	NormalBytes       int64   `json:"normal-bytes"`
	DirtyPagesRate    int64   `json:"dirty-pages-rate"` // pages per second at the last sync
	DirtySyncCount    int64   `json:"dirty-sync-count"` // passes
	PageSize          int64   `json:"page-size"`
	PagesPerSecond    int64   `json:"pages-per-second"`
	MBPS              float64 `json:"mbps"` // megabits per second
	PostcopyRequests  int64   `json:"postcopy-requests"`
	PrecopyBytes      int64   `json:"precopy-bytes"`
	DowntimeBytes     int64   `json:"downtime-bytes"`
	PostcopyBytes     int64   `json:"postcopy-bytes"`
	MultifdBytes      int64   `json:"multifd-bytes"`
	DirtySyncMissedZC int64   `json:"dirty-sync-missed-zero-copy"`
}

// Migration commands the migration of a VM, on either side.
type Migration struct{ conn *Conn }

// MigrationOf commands the migration of the VM at the other end of a connection.
func MigrationOf(conn *Conn) Migration { return Migration{conn} }

// Migrate starts a migration into a socket whose other end it returns. QEMU gets its end as a descriptor, so it needs no way to ours: it
// may be another user's, live in another mount namespace, or be confined. What QEMU has against the migration later ends the stream.
func (m Migration) Migrate(ctx context.Context) (net.Conn, error) {
	return m.stream(ctx, "migrate", map[string]any{})
}

// ResumeMigrate continues a paused post-copy migration through a new socket.
func (m Migration) ResumeMigrate(ctx context.Context) (net.Conn, error) {
	return m.stream(ctx, "migrate", map[string]any{"resume": true})
}

// MigrateIncoming is the way into a QEMU that was started with -incoming defer, once per process: what is written into the returned end
// is the migration stream, what is read from it the return path.
func (m Migration) MigrateIncoming(ctx context.Context) (net.Conn, error) {
	return m.stream(ctx, "migrate-incoming", map[string]any{})
}

// RecoverMigrate is another way into a QEMU in post-copy that has lost the one that it had. It is asked as long as its main loop answers, which it
// does not while a device waits for a page.
func (m Migration) RecoverMigrate(ctx context.Context) (net.Conn, error) {
	return m.stream(ctx, "migrate-recover", map[string]any{})
}

// streamFile is what QEMU calls its end of a stream.
const streamFile = "scatter-migration"

// stream gives QEMU one end of a new socket and returns the other.
func (m Migration) stream(ctx context.Context, command string, args map[string]any) (net.Conn, error) {
	ours, err := m.conn.GiveSocket(ctx, streamFile)
	if err != nil {
		return nil, err
	}
	args["uri"] = "fd:" + streamFile
	if err := m.conn.Do(ctx, command, args, nil); err != nil {
		ours.Close()
		return nil, err
	}
	return ours, nil
}

// GiveSocket gives QEMU one end of a new socket, which it calls by that name until it uses it, and returns the other.
func (c *Conn) GiveSocket(ctx context.Context, name string) (net.Conn, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	if err := c.Do(ctx, "getfd", map[string]string{"fdname": name}, nil, theirs); err != nil {
		ours.Close()
		return nil, err
	}
	return ours, nil
}

// socketPair makes two ends of a stream, one of which is for another process.
func socketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	mine := os.NewFile(uintptr(fds[0]), "socket")
	defer mine.Close()
	theirs = os.NewFile(uintptr(fds[1]), "socket")
	if ours, err = net.FileConn(mine); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// MigrateContinue leaves the state pre-switchover.
func (m Migration) MigrateContinue(ctx context.Context) error {
	return m.conn.Do(ctx, "migrate-continue", map[string]MigrationStatus{"state": MigrationPreSwitchover}, nil)
}

// StartPostcopy asks a migration with the capability postcopy-ram to switch over at its next pass.
func (m Migration) StartPostcopy(ctx context.Context) error {
	return m.conn.Do(ctx, "migrate-start-postcopy", nil, nil)
}

// PausePostcopy breaks a post-copy migration off so that it can be resumed.
func (m Migration) PausePostcopy(ctx context.Context) error {
	return m.conn.DoOOB(ctx, "migrate-pause", nil, nil)
}

// CancelMigration makes a pre-copy migration fail; the source VM runs on. It must not be used in post-copy: QEMU 7.2
// then gives up a VM whose pages are still needed.
func (m Migration) CancelMigration(ctx context.Context) error {
	return m.conn.Do(ctx, "migrate_cancel", nil, nil)
}

// QueryMigrate tells how the current or last migration goes.
func (m Migration) QueryMigrate(ctx context.Context) (MigrationInfo, error) {
	var info MigrationInfo
	err := m.conn.Do(ctx, "query-migrate", nil, &info)
	return info, err
}
