//go:build lab

package deploy_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
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

func TestLabEvacuateTwice(t *testing.T) {
	ctx := t.Context()
	l, err := lab.New(ctx, lab.Config{Targets: 2, Rate: 500e6})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	var configs []lab.GuestConfig
	for i := range 2 {
		configs = append(configs, lab.GuestConfig{Name: fmt.Sprintf("vm%d", i+1), Memory: 160, Workload: lab.SmallWorkload(i + 1)})
	}
	guests, err := l.Boot(ctx, configs...)
	if err != nil {
		t.Fatal(err)
	}
	d, err := deploy.New(ctx, l, build(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		receivers, err := d.ReceiveAll(ctx, l.Targets, "--memory", "200MiB")
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
		where, err := d.CheckGuests(ctx, guests)
		if err != nil {
			t.Fatal(err)
		}
		for i, h := range where {
			if h == l.Source || h.Name != r.Report.VMs[i].Host {
				t.Errorf("guest %s is on %s, the report says %s", guests[i].Name, h.Name, r.Report.VMs[i].Host)
			}
		}
		for _, g := range guests {
			if err := g.AwaitVerified(ctx); err != nil {
				t.Error(err)
			}
		}
		t.Logf("%v, %d bytes, worst pause %v", r.Time, r.SourceBytes, r.WorstPause(guests))
		if err := d.Reset(ctx, receivers); err != nil {
			t.Fatal(err)
		}
	}
}
