package move

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/enginekit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/source"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// evacuationOf is an evacuation before anything was done.
func evacuationOf(cfg source.Config) *Evacuation {
	e := &Evacuation{digestOf: make(map[int]chan control.Digested)}
	e.Cfg, e.Log, e.Listener = cfg, slog.New(slog.DiscardHandler), e
	if cfg.Log != nil {
		e.Log = cfg.Log
	}
	return e
}

func mustConfig(t *testing.T) source.Config {
	t.Helper()
	c := source.Config{VMs: []string{"a"}, Targets: []model.TargetAddr{{Name: "h"}}}
	if err := c.SetDefaults(); err != nil {
		t.Fatal(err)
	}
	return c
}

// leftBehind writes the journal of a source that crashed, and returns its path.
func leftBehind(t *testing.T, dir string, records ...handover.Record) string {
	t.Helper()
	path := filepath.Join(dir, "send-00112233445566ff.journal")
	j, _ := enginekit.NewJournal(t, path)
	for _, r := range append([]handover.Record{{Kind: handover.RecBegin, TLSDir: dir}}, records...) {
		if err := j.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	return path
}

// vmCalled is a VM of which nothing but its name is known.
func vmCalled(name string) *source.VM {
	return &source.VM{Source: enginekit.Nobody{}, Facts: &qemu.VM{Name: name}, Host: -1}
}

func linkTo(name string) *wire.Link { return &wire.Link{Welcome: control.Welcome{Name: name}} }
