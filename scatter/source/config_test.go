package source

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/scatter/model"
)

func TestConfigNamesWhatIsWrong(t *testing.T) {
	good := func() Config {
		return Config{VMs: []string{"/run/a.qmp"}, Targets: []model.TargetAddr{{Name: "h"}}}
	}
	c := good()
	if err := c.SetDefaults(); err != nil || c.RunDir != model.DefaultRunDir || c.Parallel != 2 || c.Mode != model.ModeAuto || c.OnStall != model.StallAny || c.MaxGroups != 64 ||
		c.GroupBase.String() != "239.77.0.0" || c.Downtime.String() != "300ms" || c.Log == nil {
		t.Errorf("defaults %+v, %v", c, err)
	}
	for want, spoil := range map[string]func(*Config){
		"no VM":       func(c *Config) { c.VMs = nil },
		"no target":   func(c *Config) { c.Targets = nil },
		"rate -1":     func(c *Config) { c.Rate = -1 },
		"downtime":    func(c *Config) { c.Downtime = -1 },
		"parallel -2": func(c *Config) { c.Parallel = -2 },
		"max-groups":  func(c *Config) { c.MaxGroups = -1 },
		"on-stall":    func(c *Config) { c.OnStall = "hope" },
		"group base":  func(c *Config) { c.GroupBase = netip.MustParseAddr("10.0.0.1") },
	} {
		c := good()
		spoil(&c)
		if err := c.SetDefaults(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}
