//go:build lab

package families

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// program is the scatter under test; TestMain builds it.
var program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "scatterfamilies-")
	if err != nil {
		log.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "scatter")
	build := exec.Command("go", "build", "-o", program, "github.com/scatter-vm/scatter/cmd/scatter")
	if out, err := build.CombinedOutput(); err != nil {
		log.Printf("scatter: %v: %s", err, out)
		return 1
	}
	return m.Run()
}

// What every family is held to, beside that nothing is harmed. What a guest dirties meanwhile comes on top of the distinct bytes, and so
// do handshakes and device states.
const (
	bytesBesideDistinct = 1.08
	bytesPerGuest       = 2 << 20
	baseMemory          = 150 << 20
	memoryPerPage       = 24
)

const (
	targets  = 2
	rate     = 500e6 // bit/s
	rateFlag = "500mbit"
)

// family is guests of one kind in a lab of their own.
type family struct {
	*deploy.Deployment
	guests    []*lab.Guest
	receivers []*deploy.Receiver
}

// boot starts the guests of a family, and receivers.
func boot(t *testing.T, configs ...lab.GuestConfig) *family {
	t.Helper()
	ctx := t.Context()
	l, err := lab.New(ctx, lab.Config{Targets: targets, Rate: rate})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &family{}
	if f.Deployment, err = deploy.New(ctx, l, program); err != nil {
		t.Fatal(err)
	}
	if f.guests, err = l.Boot(ctx, configs...); err != nil {
		t.Fatal(err)
	}
	f.receive(t)
	return f
}

// receive starts receivers with room for all guests.
func (f *family) receive(t *testing.T) {
	t.Helper()
	var err error
	f.receivers, err = f.ReceiveAll(t.Context(), f.Lab.Targets, "--memory", "2GiB", "--allow-path", "/dev/shm")
	if err != nil {
		t.Fatal(err)
	}
}

// home brings all guests back to the source, and starts receivers anew.
func (f *family) home(t *testing.T) {
	t.Helper()
	if err := f.Reset(t.Context(), f.receivers); err != nil {
		t.Fatal(err)
	}
	f.receive(t)
}

// evacuate moves all guests, holds the family to its promises, and returns where each guest is. What is to be done meanwhile is
// done once pages are on their way.
func (f *family) evacuate(t *testing.T, meanwhile ...func() error) []*lan.Host {
	t.Helper()
	contents, err := lab.CountContents(t.Context(), f.guests...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.StartSend(t.Context(), deploy.Job{Args: []string{"--rate", rateFlag, "--no-compress", "--verify"}})
	if err == nil {
		err = s.Await(t.Context(), "bulk")
	}
	for _, do := range meanwhile {
		err = errors.Join(err, do())
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Result(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Exit != 0 || r.Report == nil {
		t.Fatalf("send ended with %d: %s", r.Exit, r.Output)
	}
	t.Logf("%.1f MB distinct of %.1f MB that are not zero; %.1f MB in %.1f s, send took %d MiB", float64(contents.Distinct)/1e6,
		float64(contents.NonZero)/1e6, float64(r.SourceBytes)/1e6, r.Time.Seconds(), r.PeakMemory>>20)
	f.inBytes(t, r, contents)
	if most := int64(baseMemory + memoryPerPage*r.Report.Pages.Total); r.PeakMemory > most {
		t.Errorf("send took %d bytes of memory, %d are promised", r.PeakMemory, most)
	}
	return f.arrived(t)
}

// inBytes fails the test if more bytes left the source than are promised.
func (f *family) inBytes(t *testing.T, r *deploy.Result, c lab.Contents) {
	t.Helper()
	most := bytesBesideDistinct * float64(c.Distinct)
	for _, g := range f.guests {
		most += bytesPerGuest + float64(g.Config.Workload.Dirty*4096)*r.Time.Seconds()
	}
	if float64(r.SourceBytes) > most {
		t.Errorf("%d bytes left the source for %d distinct ones, %.0f are promised: %s", r.SourceBytes, c.Distinct, most, r.Output)
	}
}

// arrived fails the test if a guest is not on exactly one target, or not all its memory is right there.
func (f *family) arrived(t *testing.T) []*lan.Host {
	t.Helper()
	where, err := f.CheckGuests(t.Context(), f.guests)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(where, f.Lab.Source) {
		t.Errorf("a guest is still on the source: %v", where)
	}
	f.verified(t)
	return where
}

// verified waits until each guest has been through all its memory once more.
func (f *family) verified(t *testing.T) {
	t.Helper()
	for _, g := range f.guests {
		if err := g.AwaitVerified(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// alike returns n guests with what is common to them, each with a name and an id of its own.
func alike(n int, c lab.GuestConfig) (all []lab.GuestConfig) {
	for i := range n {
		c.Name, c.Workload.ID = fmt.Sprintf("vm%d", i+1), i+1
		all = append(all, c)
	}
	return all
}

// tell runs a command of the monitor of a guest's QEMU on h.
func tell(ctx context.Context, g *lab.Guest, h *lan.Host, command string, arguments, out any) error {
	m, err := g.MonitorOn(ctx, h)
	if err != nil {
		return err
	}
	defer m.Close()
	return m.Do(ctx, command, arguments, out)
}
