package target

import (
	"log/slog"
	"net/netip"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/bounds"
)

// Config configures a target.
type Config struct {
	Name      string         // this host's name, as in its certificate
	Listen    netip.AddrPort // control address
	Interface string         // network interface for the datagrams
	TLSDir    string         // directory with ca-cert.pem, server-cert.pem, server-key.pem
	RunDir    string         // journal, sockets and logs of VMs; default DefaultRunDir

	Memory int64 // bytes of guest RAM this host accepts; 0 = what is available
	VCPUs  int   // vCPUs this host accepts; 0 = unlimited

	Ports [2]uint16 // UDP ports for unicast datagrams, first and last, one for each evacuation; zero: any that is free

	AllowSources []string // certificate names that may evacuate to here; empty = any of the CA

	Policy   qemu.LaunchPolicy // what a source's command line may ask for
	Launcher string            // command that starts the QEMU itself; empty = scatter does
	NoDirect bool              // never write guest RAM directly: bulk goes through QEMU's incoming socket

	Log   *slog.Logger
	Ready func(netip.AddrPort) // called once when the control address listens

	// Limits is called once, before Ready, with a function that tells what peers make this target hold. That may be called by any goroutine, also
	// after Receive has returned.
	Limits func(now func() []bounds.Limit)
}
