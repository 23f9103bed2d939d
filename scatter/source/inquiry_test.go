package source

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/internal/sitekit"
	"github.com/scatter-vm/scatter/scatter/refusals"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// TestTriesSpeakQEMUsWords: what a target's QEMU has against a VM is known before anything moves, by its own words.
func TestTriesSpeakQEMUsWords(t *testing.T) {
	dir := kit.ShortDir(t)
	s := sitekit.OpenHost(t, nil, "target", nil, dir)
	with := func(args ...string) []string {
		return append([]string{kit.RealQEMU, "-nodefaults", "-net", "none"}, args...)
	}
	for name, c := range map[string]struct {
		vm   []string // as it runs
		argv []string // as its command line says
		want string
	}{
		"as it is":            {[]string{"-m", "16"}, with("-m", "16"), ""},
		"another version":     {[]string{"-M", "pc-i440fx-9.0", "-m", "16"}, with("-M", "pc", "-m", "16"), "Machine type received is 'pc-i440fx-9.0'"},
		"less memory":         {[]string{"-m", "32"}, with("-m", "16"), "pc.ram"},
		"another device":      {[]string{"-m", "16"}, with("-m", "16", "-device", "no-such-device"), "no-such-device"},
		"plugged memory":      {[]string{"-m", "16,slots=2,maxmem=1G", "-object", "memory-backend-ram,id=m1,size=128M", "-device", "pc-dimm,memdev=m1"}, with("-m", "16"), "m1"},
		"flags that it has":   {[]string{"-m", "16", "-cpu", "qemu64"}, with("-m", "16", "-cpu", "max"), ""},
		"flags that it lacks": {[]string{"-m", "16", "-cpu", "max"}, with("-m", "16", "-cpu", "qemu64"), "avx2"},
	} {
		t.Run(name, func(t *testing.T) {
			e := inquiryOf(Config{})
			e.Links = []*wire.Link{s.Link()}
			v, err := DiscoverVM(t.Context(), 0, kit.RealVM(t, "vm", c.vm...))
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			if err := v.Preflight(t.Context(), func() error { return nil }); err != nil && !onlyRisks(err) {
				t.Fatal(err)
			}
			v.argv, e.VMs = c.argv, []*VM{v}
			e.Links[0].Serve(0, asking{e})
			if _, err := e.try(t.Context(), []refusals.Question{{}}); err != nil {
				t.Fatal(err)
			}
			e.Links[0].Close()
			got := e.Refused.Of(refusals.Question{})
			if got == nil && c.want == "" {
				return
			}
			if got == nil || c.want == "" || !strings.Contains(got.Error(), c.want) || strings.Contains(got.Error(), "EOF") {
				t.Errorf("got %v, want %q", got, c.want)
			}
		})
	}
	kit.NothingLeft(t, filepath.Join(s.RunDir, "tries"))
}

// TestTriesThatWouldHarm: a VM whose helper serves one connection is not tried, and that is told.
func TestTriesThatWouldHarm(t *testing.T) {
	dir := kit.ShortDir(t)
	s := sitekit.OpenHost(t, nil, "target", nil, dir)
	v := found(t, "-m", "16")
	if err := v.Preflight(t.Context(), func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	v.argv = append(v.argv, "-chardev", "socket,id=c,path="+dir+"/swtpm", "-tpmdev", "emulator,id=t,chardev=c")
	var told kit.Tells
	e := inquiryOf(Config{Events: told.Add})
	e.Links, e.VMs = []*wire.Link{s.Link()}, []*VM{v}
	e.Links[0].Serve(0, asking{e})
	if ok, err := e.try(t.Context(), []refusals.Question{{}}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	e.Links[0].Close()
	if w := told.Of("warning", "vm"); e.Refused.Of(refusals.Question{}) != nil || len(w) != 1 || !strings.Contains(w[0], "only connection of its helper") {
		t.Errorf("%v, told %q", e.Refused.Of(refusals.Question{}), w)
	}
}

// inquiryOf is an inquiry before anybody was asked.
func inquiryOf(cfg Config) *inquiry {
	return &inquiry{Party: Party{run: run{Cfg: cfg, Log: slog.New(slog.DiscardHandler)}}}
}

// asking listens to answers.
type asking struct{ *inquiry }

func (a asking) FromTarget(host int, m control.Message) {
	if x, ok := m.(control.Examined); ok {
		a.Examined(host, x)
	}
}
func (asking) MulticastFrom(int, []byte)      {}
func (a asking) LinkLost(host int, err error) { a.Refused.HostLost(host, err) }
