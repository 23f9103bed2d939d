package qemu

import (
	"context"
	"maps"
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// maxSocketPath is the longest path that fits into a unix socket address, in bytes.
const maxSocketPath = 107

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

// Migrate starts a migration into a socket whose other end it returns. QEMU gets its end as a descriptor, so it needs no way to ours: it
// may be another user's, live in another mount namespace, or be confined. What QEMU has against the migration later ends the stream.
func (c *Client) Migrate(ctx context.Context) (net.Conn, error) {
	return c.stream(ctx, "migrate", map[string]any{})
}

// ResumeMigrate continues a paused post-copy migration through a new socket.
func (c *Client) ResumeMigrate(ctx context.Context) (net.Conn, error) {
	return c.stream(ctx, "migrate", map[string]any{"resume": true})
}

// MigrateIncoming is the way into a QEMU that was started with -incoming defer, once per process: what is written into the returned end
// is the migration stream, what is read from it the return path.
func (c *Client) MigrateIncoming(ctx context.Context) (net.Conn, error) {
	return c.stream(ctx, "migrate-incoming", map[string]any{})
}

// streamFile is what QEMU calls its end of a stream.
const streamFile = "scatter-migration"

// stream gives QEMU one end of a new socket and returns the other.
func (c *Client) stream(ctx context.Context, command string, args map[string]any) (net.Conn, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	args["uri"] = "fd:" + streamFile
	err = c.Do(ctx, "getfd", map[string]string{"fdname": streamFile}, nil, theirs)
	if err == nil {
		err = c.Do(ctx, command, args, nil)
	}
	if err != nil {
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
	mine := os.NewFile(uintptr(fds[0]), streamFile)
	defer mine.Close()
	theirs = os.NewFile(uintptr(fds[1]), streamFile)
	if ours, err = net.FileConn(mine); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// MigrateContinue leaves the state pre-switchover.
func (c *Client) MigrateContinue(ctx context.Context) error {
	return c.Do(ctx, "migrate-continue", map[string]MigrationStatus{"state": MigrationPreSwitchover}, nil)
}

// StartPostcopy asks a migration with the capability postcopy-ram to switch over at its next pass.
func (c *Client) StartPostcopy(ctx context.Context) error {
	return c.Do(ctx, "migrate-start-postcopy", nil, nil)
}

// PausePostcopy breaks a post-copy migration off so that it can be resumed.
func (c *Client) PausePostcopy(ctx context.Context) error {
	return c.DoOOB(ctx, "migrate-pause", nil, nil)
}

// CancelMigration makes a pre-copy migration fail; the source VM runs on. It must not be used in post-copy: QEMU 7.2
// then gives up a VM whose pages are still needed.
func (c *Client) CancelMigration(ctx context.Context) error {
	return c.Do(ctx, "migrate_cancel", nil, nil)
}

// QueryMigrate tells how the current or last migration goes.
func (c *Client) QueryMigrate(ctx context.Context) (MigrationInfo, error) {
	var info MigrationInfo
	err := c.Do(ctx, "query-migrate", nil, &info)
	return info, err
}

type capability struct {
	Capability string `json:"capability"`
	State      bool   `json:"state"`
}

// Capabilities tells which migration capabilities QEMU knows, and which are on.
func (c *Client) Capabilities(ctx context.Context) (map[string]bool, error) {
	var list []capability
	if err := c.Do(ctx, "query-migrate-capabilities", nil, &list); err != nil {
		return nil, err
	}
	caps := make(map[string]bool, len(list))
	for _, e := range list {
		caps[e.Capability] = e.State
	}
	return caps, nil
}

// SetCapabilities switches capabilities; QEMU takes all or none, and none while a migration runs.
func (c *Client) SetCapabilities(ctx context.Context, caps map[string]bool) error {
	list := make([]capability, 0, len(caps))
	for _, name := range slices.Sorted(maps.Keys(caps)) {
		list = append(list, capability{name, caps[name]})
	}
	return c.Do(ctx, "migrate-set-capabilities", map[string]any{"capabilities": list}, nil)
}

// Parameters steer a migration, also while it runs. A nil field is left alone when set, and unknown to this QEMU when
// asked for.
type Parameters struct {
	DowntimeLimit            *uint64 `json:"downtime-limit,omitempty"`             // ms; 1 holds, 0 switches over at once
	MaxBandwidth             *uint64 `json:"max-bandwidth,omitempty"`              // bytes/s; 0 = no limit
	AvailSwitchoverBandwidth *uint64 `json:"avail-switchover-bandwidth,omitempty"` // bytes/s; 0 = measured; QEMU >= 8.2
	MaxPostcopyBandwidth     *uint64 `json:"max-postcopy-bandwidth,omitempty"`     // bytes/s; 0 = no limit
	AnnounceRounds           *uint64 `json:"announce-rounds,omitempty"`
	ThrottleTrigger          *uint64 `json:"throttle-trigger-threshold,omitempty"` // percent
	ThrottleInitial          *uint64 `json:"cpu-throttle-initial,omitempty"`       // percent
	ThrottleIncrement        *uint64 `json:"cpu-throttle-increment,omitempty"`     // percent
	ThrottleMax              *uint64 `json:"max-cpu-throttle,omitempty"`           // percent
	TLSCreds                 *string `json:"tls-creds,omitempty"`                  // "" = no TLS
	Mode                     *string `json:"mode,omitempty"`                       // normal, or a kind of reboot; QEMU >= 8.2
}

// Parameters asks for the parameters in force.
func (c *Client) Parameters(ctx context.Context) (Parameters, error) {
	var p Parameters
	err := c.Do(ctx, "query-migrate-parameters", nil, &p)
	return p, err
}

// SetParameters changes the parameters that are not nil.
func (c *Client) SetParameters(ctx context.Context, p Parameters) error {
	return c.Do(ctx, "migrate-set-parameters", p, nil)
}
