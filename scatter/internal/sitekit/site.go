// Package sitekit is a target for tests of other rooms, as they know one: by its address.
package sitekit

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/target"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// Outpost is a target that serves on the loopback interface, and a source that may use it.
type Outpost struct {
	t      *testing.T
	Target model.TargetAddr
	TLSDir string // of host "source"
	RunDir string // of the target
	Log    *kit.LogBook
	stop   func() // ends the target and waits for it
}

// OpenOutpost starts a target called name. ca may be nil.
func OpenOutpost(t *testing.T, ca *kit.Authority, name string, change func(*target.Config)) *Outpost {
	t.Helper()
	if ca == nil {
		ca = kit.NewAuthority(t)
	}
	s := &Outpost{t: t, Log: &kit.LogBook{}, TLSDir: ca.Host("source")}
	ready := make(chan netip.AddrPort, 1)
	cfg := target.Config{Name: name, Listen: netip.AddrPortFrom(kit.Loopback, 0), Interface: "lo", TLSDir: ca.Host(name), RunDir: t.TempDir(),
		Memory: 1 << 30, VCPUs: 8, Policy: qemu.LaunchPolicy{QEMU: "/nonexistent/qemu-system-x86_64"}, Log: slog.New(slog.NewTextHandler(s.Log, nil)),
		Ready: func(a netip.AddrPort) { ready <- a }}
	if change != nil {
		change(&cfg)
	}
	s.RunDir = cfg.RunDir
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- target.Receive(ctx, cfg) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	select {
	case a := <-ready:
		s.Target = model.TargetAddr{Name: name, Addr: a}
	case err := <-served:
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s
}

// Link opens a control connection.
func (s *Outpost) Link() *wire.Link {
	s.t.Helper()
	l, err := wire.Open(s.t.Context(), wire.Dialer{Target: s.Target, TLSDir: s.TLSDir, Evacuation: "00112233445566ff", Sent: new(atomic.Int64)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
	return l
}

// OpenHost starts a receiver with a real QEMU, whose VMs may open the files below dirs.
func OpenHost(t *testing.T, ca *kit.Authority, name string, change func(*target.Config), dirs ...string) *Outpost {
	t.Helper()
	return OpenOutpost(t, ca, name, func(c *target.Config) {
		c.RunDir = kit.ShortDir(t)
		c.Policy = qemu.LaunchPolicy{QEMU: kit.RealQEMU, AllowPaths: dirs}
		if change != nil {
			change(c)
		}
	})
}
