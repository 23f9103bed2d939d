//go:build lab

package deploy_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// build builds scatter.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scatter")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/scatter-vm/scatter/cmd/scatter").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// newLab is a lab that ends with the test.
func newLab(t *testing.T, c lab.Config) *lab.Lab {
	t.Helper()
	l, err := lab.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// install boots guests in a lab, and has scatter on all of its hosts.
func install(t *testing.T, l *lab.Lab, configs ...lab.GuestConfig) (*deploy.Deployment, []*lab.Guest) {
	t.Helper()
	guests, err := l.Boot(t.Context(), configs...)
	if err != nil {
		t.Fatal(err)
	}
	d, err := deploy.New(t.Context(), l, build(t))
	if err != nil {
		t.Fatal(err)
	}
	return d, guests
}

// stage is a lab with two guests and scatter installed.
func stage(t *testing.T) (*deploy.Deployment, []*lab.Guest) {
	t.Helper()
	l := newLab(t, lab.Config{Targets: 2, Rate: 500e6})
	var configs []lab.GuestConfig
	for i := range 2 {
		configs = append(configs, lab.GuestConfig{Name: fmt.Sprintf("vm%d", i+1), Memory: 160, Workload: lab.SmallWorkload(i + 1)})
	}
	return install(t, l, configs...)
}

// arrived fails the test if a guest is still on the source, or harmed.
func arrived(t *testing.T, d *deploy.Deployment, guests []*lab.Guest) []*lan.Host {
	t.Helper()
	where, err := d.CheckGuests(t.Context(), guests)
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range guests {
		if where[i] == d.Lab.Source {
			t.Errorf("guest %s is still on the source", g.Name)
		}
		if err := g.AwaitVerified(t.Context()); err != nil {
			t.Error(err)
		}
	}
	return where
}

func TestLabEvacuateTwice(t *testing.T) {
	ctx := t.Context()
	d, guests := stage(t)
	for range 2 {
		receivers, err := d.ReceiveAll(ctx, d.Lab.Targets, "--memory", "200MiB")
		if err != nil {
			t.Fatal(err)
		}
		r, err := d.Send(ctx, deploy.Job{Args: []string{"--verify", "--rate", "500mbit"}})
		if err != nil {
			t.Fatal(err)
		}
		if r.Exit != 0 || r.Report == nil {
			t.Fatalf("exit %d: %s", r.Exit, r.Output)
		}
		for i, h := range arrived(t, d, guests) {
			if h.Name != r.Report.VMs[i].Host {
				t.Errorf("guest %s is on %s, the report says %s", guests[i].Name, h.Name, r.Report.VMs[i].Host)
			}
		}
		t.Logf("%v, %d bytes, worst pause %v", r.Time, r.SourceBytes, r.WorstPause(guests))
		if err := d.Reset(ctx, receivers); err != nil {
			t.Fatal(err)
		}
	}
}
