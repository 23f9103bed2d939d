package scatter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// openHost starts a receiver with a real QEMU, whose VMs may open the files below dirs.
func openHost(t *testing.T, ca *kit.Authority, name string, change func(*RecvConfig), dirs ...string) *site {
	t.Helper()
	return openSite(t, ca, name, func(c *RecvConfig) {
		c.RunDir = kit.ShortDir(t)
		c.Policy = qemu.LaunchPolicy{QEMU: kit.RealQEMU, AllowPaths: dirs}
		if change != nil {
			change(c)
		}
	})
}

// evacuationTo is a configuration that moves VMs from sockets to hosts.
func evacuationTo(t *testing.T, hosts []*site, sockets ...string) SendConfig {
	t.Helper()
	cfg := SendConfig{VMs: sockets, Interface: "lo", TLSDir: hosts[0].tlsDir, RunDir: kit.ShortDir(t), Unicast: true}
	for _, s := range hosts {
		cfg.Targets = append(cfg.Targets, s.target)
	}
	return cfg
}

// tells collects events.
type tells struct {
	mu  sync.Mutex
	all []model.Event
}

func (l *tells) add(e model.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
}

func (l *tells) of(kind, vm string) (messages []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		if e.Type == kind && e.VM == vm {
			messages = append(messages, e.Message)
		}
	}
	return messages
}

// TestPlanTriesTargets: a VM whose image one target lacks goes to the other one; one whose image no target has stays, with QEMU's
// words, and the others go.
func TestPlanTriesTargets(t *testing.T) {
	ca, images := kit.NewAuthority(t), kit.ShortDir(t)
	for _, dir := range []string{"here", "everywhere"} {
		if err := os.Mkdir(filepath.Join(images, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	lacking := func(c *RecvConfig) {
		c.Policy.Rewrites = append(c.Policy.Rewrites, qemu.Rewrite{From: images + "/here", To: images + "/gone"})
	}
	hosts := []*site{openHost(t, ca, "poor", func(c *RecvConfig) {
		lacking(c)
		c.Policy.Rewrites = append(c.Policy.Rewrites, qemu.Rewrite{From: images + "/everywhere", To: images + "/gone"})
	}, images), openHost(t, ca, "rich", lacking, images)}
	hosts[1].tlsDir = hosts[0].tlsDir
	cfg := evacuationTo(t, hosts, kit.RealVM(t, "one", append([]string{"-m", "16"}, kit.Drive(kit.DiskIn(t, images+"/everywhere", "one.img"))...)...),
		kit.RealVM(t, "two", append([]string{"-m", "16"}, kit.Drive(kit.DiskIn(t, images+"/here", "two.img"))...)...), kit.RealVM(t, "three", "-m", "16"))
	var told tells
	cfg.Events = told.add
	plan, err := MakePlan(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Placement["one"] != "rich" || plan.Placement["three"] == "" || plan.Placement["two"] != "" || len(plan.VMs) != 2 {
		t.Errorf("placement %v of %d", plan.Placement, len(plan.VMs))
	}
	if len(plan.Stays) != 1 || plan.Stays[0].VM != "two" || strings.Count(plan.Stays[0].Problem, "Could not open") != 2 || !strings.Contains(plan.Stays[0].Problem, "No such file") {
		t.Errorf("stays %+v", plan.Stays)
	}
	if b := told.of("blocker", "two"); len(b) != 1 || !strings.Contains(b[0], "rich: QEMU does not start") {
		t.Errorf("blockers told: %q", b)
	}
	for _, h := range hosts {
		noTries(t, h)
	}
	t.Run("all or none", func(t *testing.T) {
		cfg := cfg
		cfg.AllOrNone = true
		plan, err := MakePlan(t.Context(), cfg)
		if blocked, ok := errors.AsType[*model.BlockedError](err); !ok || len(blocked.Blockers) != 1 || len(plan.Placement)+len(plan.Stays) > 0 {
			t.Errorf("%v, %+v", err, plan)
		}
	})
	t.Run("excluded", func(t *testing.T) {
		cfg := cfg
		cfg.AllOrNone, cfg.Exclude = true, []string{"t[v-x]*"}
		if plan, err := MakePlan(t.Context(), cfg); err != nil || len(plan.Placement) != 2 || plan.Stays != nil {
			t.Errorf("%v, %+v", err, plan)
		}
	})
	t.Run("the kept plan", func(t *testing.T) {
		cfg := cfg
		b, _ := json.Marshal(plan)
		var err error
		if cfg.Plan, err = planning.ReadPlan(strings.NewReader(string(b))); err != nil {
			t.Fatal(err)
		}
		again, err := MakePlan(t.Context(), cfg)
		if err != nil || again.Placement["one"] != "rich" || len(again.Stays) != 1 || !strings.Contains(again.Stays[0].Problem, "the plan leaves it here") {
			t.Errorf("%v, %+v", err, again)
		}
		cfg.Plan.Placement["two"] = "rich"
		if _, err := MakePlan(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "cannot move") {
			t.Errorf("changed by hand: %v", err)
		}
	})
}

// TestVMsAreTriedWhereTheyGo: each VM is tried once where no target refuses any, wherever the operator leaves it to the plan or not.
func TestVMsAreTriedWhereTheyGo(t *testing.T) {
	ca := kit.NewAuthority(t)
	hosts := []*site{openHost(t, ca, "one", nil), openHost(t, ca, "two", nil), openHost(t, ca, "three", nil)}
	for _, s := range hosts[1:] {
		s.tlsDir = hosts[0].tlsDir
	}
	cfg := evacuationTo(t, hosts, kit.RealVM(t, "a", "-m", "16"), kit.RealVM(t, "b", "-m", "16"))
	cfg.Place = map[string]string{"b": "three"}
	if _, err := MakePlan(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	var tries uint64
	for _, s := range hosts {
		tries += s.r.tries.number.Load()
	}
	if tries != 2 || hosts[2].r.tries.number.Load() == 0 {
		t.Errorf("%d tries of two VMs, %d where one is placed", tries, hosts[2].r.tries.number.Load())
	}
}

// noTries says that nothing of a try is left on a host.
func noTries(t *testing.T, s *site) {
	t.Helper()
	dir := filepath.Join(s.r.cfg.RunDir, "tries")
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left over in %s: %v", dir, left)
	}
	out, _ := exec.Command("pgrep", "-f", dir).Output()
	if len(out) > 0 {
		t.Errorf("processes of tries: %s", out)
	}
}

// TestTriesSpeakQEMUsWords: what a target's QEMU has against a VM is known before anything moves, by its own words.
func TestTriesSpeakQEMUsWords(t *testing.T) {
	dir := kit.ShortDir(t)
	s := openHost(t, nil, "target", nil, dir)
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
			e := evacuationOf(SendConfig{})
			e.links = []*wire.Link{s.open()}
			v, err := discoverVM(t.Context(), 0, kit.RealVM(t, "vm", c.vm...))
			if err != nil {
				t.Fatal(err)
			}
			defer v.close()
			if err := v.preflight(t.Context(), func() error { return nil }); err != nil && !onlyRisks(err) {
				t.Fatal(err)
			}
			v.argv, e.vms = c.argv, []*sourceVM{v}
			e.links[0].Serve(0, e)
			if _, err := e.try(t.Context(), []question{{}}); err != nil {
				t.Fatal(err)
			}
			e.links[0].Close()
			got := e.refused.of(question{})
			if got == nil && c.want == "" {
				return
			}
			if got == nil || c.want == "" || !strings.Contains(got.Error(), c.want) || strings.Contains(got.Error(), "EOF") {
				t.Errorf("got %v, want %q", got, c.want)
			}
		})
	}
	noTries(t, s)
}

// fit is a small real VM that could leave.
func fit(t *testing.T) *sourceVM {
	t.Helper()
	v := found(t, "-m", "16")
	if err := v.preflight(t.Context(), func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestTriesOfManyVMs: they take turns, and none is left.
func TestTriesOfManyVMs(t *testing.T) {
	s := openHost(t, nil, "target", nil)
	v := fit(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			m := v.examineMessage(false, true)
			m.Name = fmt.Sprint("vm", i)
			if err := s.r.tries.examine(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	noTries(t, s)
}

// TestTriesEndWithTheSource: whoever asked is gone, and what was started for it.
func TestTriesEndWithTheSource(t *testing.T) {
	s := openHost(t, nil, "target", nil)
	v := fit(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the source is gone"))
	if err := s.r.tries.examine(ctx, v.examineMessage(false, true)); err == nil || !strings.Contains(err.Error(), "the source is gone") {
		t.Errorf("got %v", err)
	}
	noTries(t, s)
}

// TestTriesThatHang: a QEMU that waits for a file for ever is given up, and nobody waits for it meanwhile.
func TestTriesThatHang(t *testing.T) {
	dir := kit.ShortDir(t)
	s := openHost(t, nil, "target", nil, dir)
	s.r.tries.timeout, s.r.tries.patience = time.Hour, time.Millisecond
	ctx, cancel := context.WithCancelCause(t.Context())
	v := fit(t)
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	hangs := 2 * cap(s.r.tries.turns)
	answers := make(chan error, hangs)
	for range hangs {
		wg.Go(func() {
			m := v.examineMessage(false, true)
			m.Argv = slices.Concat(m.Argv, []string{"-kernel", fifo})
			answers <- s.r.tries.examine(ctx, m)
		})
	}
	kit.Eventually(t, func() bool { return len(s.r.tries.places) == hangs })
	if err := s.r.tries.examine(t.Context(), v.examineMessage(false, true)); err != nil {
		t.Errorf("one that does not hang: %v", err)
	}
	if len(answers) > 0 {
		t.Errorf("those that hang were done first: %v", <-answers)
	}
	enough := errors.New("enough")
	cancel(enough)
	wg.Wait()
	for range hangs {
		if err := <-answers; !errors.Is(err, enough) {
			t.Errorf("got %v", err)
		}
	}
	s.r.tries.timeout = time.Millisecond
	if err := s.r.tries.examine(t.Context(), v.examineMessage(false, true)); !errors.Is(err, errSlow) {
		t.Errorf("got %v", err)
	}
	noTries(t, s)
}

// TestTriesTakeNothing: a VM that runs here is not touched by a try of one that wants all the same sockets, ports and files.
func TestTriesTakeNothing(t *testing.T) {
	dir := kit.ShortDir(t)
	log := kit.DiskIn(t, dir, "serial.log")
	greedy := []string{"-m", "16", "-vnc", ":77", "-chardev", "socket,id=s0,path=" + dir + "/serial,server=on,wait=off", "-device", "isa-serial,chardev=s0",
		"-chardev", "file,id=s1,path=" + log, "-device", "isa-serial,chardev=s1", "-netdev", "user,id=n0,hostfwd=tcp:127.0.0.1:47047-:22",
		"-object", "memory-backend-file,id=m0,size=128M,mem-path=" + dir + "/memory,share=on", "-M", "pc,memory-backend=m0", "-m", "128"}
	s := openHost(t, nil, "target", func(c *RecvConfig) { c.Policy.AllowNetwork = true }, dir)
	v := found(t, greedy...)
	if err := v.preflight(t.Context(), func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(log, []byte("what was logged"), 0o600); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadDir(dir)
	m := v.examineMessage(false, true)
	argv, claims, err := s.r.cfg.Policy.Rehearsal(m.Argv, "try-greedy", s.r.tries.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.r.tries.try(t.Context(), m, argv, func() {}); err != nil {
		t.Errorf("it runs here, and so it starts here: %v", err)
	}
	if err := s.r.tries.examine(t.Context(), m); err == nil || err.Error() != claims.Taken().Error() || !strings.Contains(err.Error(), "somebody listens there already") {
		t.Errorf("a second of the same: %v", err)
	}
	after, _ := os.ReadDir(dir)
	if b, _ := os.ReadFile(log); string(b) != "what was logged" || len(before) != len(after) {
		t.Errorf("the log has %q, files %v, were %v", b, after, before)
	}
	c, err := net.Dial("unix", dir+"/serial")
	if err != nil {
		t.Errorf("the serial line of the VM: %v", err)
	} else {
		c.Close()
	}
	noTries(t, s)
}

// TestTriesThatWouldHarm: a VM whose helper serves one connection is not tried, and that is told.
func TestTriesThatWouldHarm(t *testing.T) {
	dir := kit.ShortDir(t)
	s := openHost(t, nil, "target", nil, dir)
	v := fit(t)
	v.argv = append(v.argv, "-chardev", "socket,id=c,path="+dir+"/swtpm", "-tpmdev", "emulator,id=t,chardev=c")
	var told tells
	e := evacuationOf(SendConfig{Events: told.add})
	e.links, e.vms = []*wire.Link{s.open()}, []*sourceVM{v}
	e.links[0].Serve(0, e)
	if ok, err := e.try(t.Context(), []question{{}}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	e.links[0].Close()
	if w := told.of("warning", "vm"); e.refused.of(question{}) != nil || len(w) != 1 || !strings.Contains(w[0], "only connection of its helper") {
		t.Errorf("%v, told %q", e.refused.of(question{}), w)
	}
}
