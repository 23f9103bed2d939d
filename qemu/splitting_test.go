package qemu

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/bench/tried"
	"github.com/scatter-vm/scatter/qemu/cmdline"
	"github.com/scatter-vm/scatter/qemu/internal/kit"
)

// splitTries is how many options of each kind are put to a real QEMU.
const splitTries = 1000

// TestSplitsAsQEMU puts options of random pieces to a real QEMU, by both of its parsers: where it takes one, the policy must have seen the same keys
// with the same values, or it would judge something else than what QEMU does.
func TestSplitsAsQEMU(t *testing.T) {
	p := launch(t, "-M", "none", "-m", "16")
	tried.Inputs(t, "option of random pieces", 2*splitTries)
	dir := kit.ShortDir(t)
	for name, k := range map[string]splitter{
		"keyval": {"object_add ", "secret,id=s,data=", "qom-type", strings.Fields(`, ,, ,, = ,data= ,data= ,data=, ,id=s ,id=s ,id=s ,id=o.1 ,format=raw ,format ,qom-type=secret x x " ' \ no on . ,a.b= %s`), seenObject},
		"QemuOpts": {"chardev-add ", "socket,server=on,wait=off,id=c,path=" + dir + "/p", "backend",
			[]string{",", ",", ",,", ",,", "=", ",id=d-1", ",path=" + dir + "/a", ",path=" + dir + "/b,,", "path", "x", ",server", ",nodelay", ",nowait", ",wait=no", ",backend=socket", "\"", " ", "no"}, seenChardev},
	} {
		t.Run(name, func(t *testing.T) {
			rng, taken := rand.New(rand.NewPCG(1, uint64(len(name)))), 0
			for range splitTries {
				option := k.first
				for range 1 + rng.IntN(8) {
					option += k.pieces[rng.IntN(len(k.pieces))]
				}
				option = strings.TrimRight(option, " ") // as the monitor does
				var text string
				err := p.Client.Do(t.Context(), "human-monitor-command", map[string]string{"command-line": k.command + option}, &text)
				if err != nil {
					t.Fatalf("%q: %v", option, err)
				}
				if text != "" && !strings.Contains(text, "warning:") {
					continue
				}
				theirs := k.seen(t, p.Client)
				if theirs == nil {
					continue // it was only help
				}
				taken++
				pairs, err := cmdline.ParseKeyval(option, k.implied)
				if err != nil {
					t.Errorf("%q: QEMU takes it as %v, we do not: %v", option, theirs, err)
				}
				if pairs.Count("id") > 1 {
					continue // the policy refuses it
				}
				for key, want := range theirs {
					got := ""
					for _, pair := range pairs {
						if pair.Key == key {
							got = pair.Value // the last one counts
						}
					}
					if got != want {
						t.Errorf("%q: %s is %q to QEMU, %q to us", option, key, want, got)
					}
				}
			}
			if t.Logf("%d of %d were taken", taken, splitTries); taken < splitTries/50 {
				t.Error("too few to tell anything")
			}
		})
	}
}

// splitter is one of QEMU's parsers.
type splitter struct {
	command, first, implied string
	pieces                  []string
	seen                    func(t *testing.T, c *Client) map[string]string // what QEMU has made of an option; undone
}

func seenObject(t *testing.T, c *Client) map[string]string {
	var all []struct{ Name, Type string }
	if err := c.Do(t.Context(), "qom-list", map[string]string{"path": "/objects"}, &all); err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if o.Type != "child<secret>" {
			continue
		}
		var data string
		if err := c.Do(t.Context(), "qom-get", map[string]string{"path": "/objects/" + o.Name, "property": "data"}, &data); err != nil {
			t.Fatal(err)
		}
		if err := c.Do(t.Context(), "object-del", map[string]string{"id": o.Name}, nil); err != nil {
			t.Fatal(err)
		}
		return map[string]string{"qom-type": "secret", "id": o.Name, "data": data}
	}
	return nil
}

func seenChardev(t *testing.T, c *Client) map[string]string {
	var all []struct{ Label, Filename string }
	if err := c.Do(t.Context(), "query-chardev", nil, &all); err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		path, ok := strings.CutPrefix(d.Filename, "disconnected:unix:")
		if !ok || strings.HasPrefix(d.Label, "compat_monitor") { // another, or our own
			continue
		}
		if path, ok = strings.CutSuffix(path, ",server=on"); !ok {
			continue
		}
		if err := c.Do(t.Context(), "chardev-remove", map[string]string{"id": d.Label}, nil); err != nil {
			t.Fatal(err)
		}
		return map[string]string{"backend": "socket", "id": d.Label, "path": path}
	}
	return nil
}
