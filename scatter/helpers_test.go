package scatter

import (
	"testing"

	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/internal/sitekit"
	"github.com/scatter-vm/scatter/scatter/source"
)

// evacuationTo is a configuration that moves VMs from sockets to hosts.
func evacuationTo(t *testing.T, hosts []*sitekit.Outpost, sockets ...string) source.Config {
	t.Helper()
	cfg := source.Config{VMs: sockets, Interface: "lo", TLSDir: hosts[0].TLSDir, RunDir: kit.ShortDir(t), Unicast: true}
	for _, s := range hosts {
		cfg.Targets = append(cfg.Targets, s.Target)
	}
	return cfg
}
