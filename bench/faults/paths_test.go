//go:build lab

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab/witness"
)

// Without a fault everything arrives.
func TestNoFault(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	o := s.send().finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	s.spread(s.Targets...)
}

// Groups of IPv6 take the datagrams where --group-base names one.
func TestIPv6(t *testing.T) {
	s := newScene(t)
	s.must(s.Switch.SpeakIPv6(t.Context()))
	s.receiveAll()
	x := s.send("--group-base", "ff15::77:0", "--rate", "200mbit")
	x.sends(2 << 20)
	for _, h := range s.Targets {
		if hears, err := h.Hears(t.Context(), netip.MustParseAddr("ff15::77:0")); err != nil || !hears {
			t.Errorf("%s has not joined by MLD: %v", h.Name, err)
		}
	}
	o := x.finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	o.spares(s, "unicast")
	if o.report.MulticastBytes == 0 {
		t.Error("nothing was multicast")
	}
	s.spread(s.Targets...)
}

// A receiver that may not write its QEMU's memory hands all pages to its incoming socket.
func TestSocketPath(t *testing.T) {
	s := newScene(t)
	s.receiveAll("--no-direct")
	o := s.send().finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	for _, r := range s.receivers {
		s.says(r, "direct=false")
	}
	s.spread(s.Targets...)
}

// timesVariable is how often TestVerifyManyTimes evacuates; 20 before a release.
const timesVariable = "SCATTER_VERIFY_TIMES"

// No evacuation leaves a byte different.
func TestVerifyManyTimes(t *testing.T) {
	times := 2
	if v := os.Getenv(timesVariable); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			t.Fatalf("%s=%s: must be a number above 0", timesVariable, v)
		}
		times = n
	}
	for i := range times {
		t.Run(fmt.Sprint(i+1), func(t *testing.T) {
			s := newScene(t)
			s.receiveAll()
			o := s.send("--parallel", "2").finish()
			o.exits(s, 0)
			o.reports(s, evacuated, evacuated) // and verified
			s.spread(s.Targets...)
		})
	}
}

func init() { roles["launch"] = launch }

// TestLauncher: where another manager owns QEMU, recv asks it to start one.
func TestLauncher(t *testing.T) {
	s := newScene(t)
	self, err := os.Executable()
	s.must(err)
	for _, h := range s.Targets {
		s.receive(h, "--launcher", fmt.Sprintf("%s='launch %s %s' %s", roleVariable, s.Source.Dir, h.Dir, self))
	}
	o := s.send().finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	s.spread(s.Targets...)
	for _, g := range s.guests {
		link := filepath.Join(s.target(g).Dir, "run", g.Name+".qmp")
		m, err := witness.Dial(t.Context(), link)
		if err != nil {
			t.Errorf("the QMP socket is not where recv promises it: %v", err)
			continue
		}
		m.Close()
	}
}

// launch is the launcher: it starts the QEMU that stdin describes, with paths moved from one directory to another, and prints
// its QMP socket.
func launch(args []string) error {
	var vm struct {
		Name   string
		Argv   []string
		RunDir string `json:"run_dir"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&vm); err != nil {
		return err
	}
	socket := filepath.Join(args[1], vm.Name+".launched")
	argv := append(without(vm.Argv, "-incoming", "-qmp"), "-qmp", "unix:"+socket+",server=on,wait=off", "-incoming", "defer", "-S")
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], args[0]+"/", args[1]+"/")
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	err := await(ctx, socket, func() error {
		c, err := net.DialTimeout("unix", socket, time.Second)
		if err == nil {
			err = c.Close()
		}
		return err
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(os.Stdout, socket+"\n")
	return err
}

// without drops options and their values from a command line.
func without(argv []string, options ...string) []string {
	var out []string
	for i := 0; i < len(argv); i++ {
		if slices.Contains(options, argv[i]) {
			i++
			continue
		}
		out = append(out, argv[i])
	}
	return out
}

// script is the maintenance script that operators take over as it is.
const script = "../../docs/evacuate-host.sh"

// maintain runs the script on the source and returns its exit status and what it has said.
func (s *scene) maintain(args ...string) (int, string) {
	s.t.Helper()
	path, err := filepath.Abs(script)
	s.must(err)
	cmd := s.Source.Command(s.t.Context(), path, append([]string{"--report-dir", s.dir}, args...)...)
	find, err := deploy.FindQEMUs(s.dir)
	s.must(err)
	cmd.Env = append(os.Environ(), "SCATTER="+program, "FIND_QEMUS="+find)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestEvacuateHostScript(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	config := filepath.Join(s.dir, "send.toml")
	s.must(os.WriteFile(config, fmt.Appendf(nil, "vm = [%q, %q]\nto = [%q, %q]\ninterface = %q\ntls-dir = %q\nrun-dir = %q\nverify = true\n",
		s.guests[0].QMP, s.guests[1].QMP, s.Targets[0].Name+"="+address(s.Targets[0]), s.Targets[1].Name+"="+address(s.Targets[1]),
		s.Source.Interface, filepath.Join(s.Source.Dir, "tls"), filepath.Join(s.Source.Dir, "run")), 0o600))
	if code, out := s.maintain("--", "--config", config); code != 6 || !strings.Contains(out, "nobody to ask") {
		t.Errorf("without --yes and a terminal: exit status %d: %s", code, out)
	}
	if code, out := s.maintain("--yes", "--", "--config", config, "--place", "vm1=nowhere"); code != 4 {
		t.Errorf("with a blocker: exit status %d: %s", code, out)
	}
	s.everybody(s.Source)
	code, out := s.maintain("--yes", "--", "--config", config)
	if code != 0 || !strings.Contains(out, "maintenance may begin") {
		t.Errorf("exit status %d: %s", code, out)
	}
	for _, g := range s.guests {
		h, err := s.Where(t.Context(), g)
		s.must(err)
		if h == s.Source {
			t.Errorf("guest %s is still on the source", g.Name)
		}
		s.stand(g, h)
	}
	if reports, _ := filepath.Glob(filepath.Join(s.dir, "evacuation-*.json")); len(reports) != 1 {
		t.Errorf("reports: %v", reports)
	}
}
