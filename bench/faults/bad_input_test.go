//go:build lab

package faults

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/scatter/pki"
)

// TestBadInput: mistakes of an operator and of other programs are told by name, and nothing is touched.
func TestBadInput(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	s.receive(s.Targets[0], "--listen", s.Targets[0].Addr.String()+":7399", "--run-dir", s.dir)
	to := s.toFlags()
	for name, c := range map[string]struct {
		flags []string
		code  int
		texts []string
	}{
		"rate 0":           {[]string{"--rate", "0"}, 2, []string{"--rate"}},
		"no group":         {[]string{"--group-base", "10.1.2.3"}, 2, []string{"10.1.2.3"}},
		"no interface":     {[]string{"--interface", "eth9"}, 4, []string{"eth9"}},
		"no such place":    {[]string{"--place", "vm1=nowhere"}, 4, []string{"vm1", "nowhere"}},
		"no socket":        {[]string{"--vm", "/nonexistent.qmp"}, 4, []string{"/nonexistent.qmp"}},
		"no monitor":       {[]string{"--vm", s.babbler()}, 4, []string{"babble.qmp"}},
		"twice the same":   {[]string{"--vm", s.idleVM("vm1")}, 4, []string{"two VMs are called vm1"}},
		"unmigratable":     {[]string{"--all-or-none", "--vm", s.idleVM("fixed", "-device", "nvme,serial=1")}, 4, []string{"vm fixed", "nvme"}},
		"target's absence": {[]string{"--to", "target9=10.77.0.99:7400"}, 4, []string{"target9", "scatter recv"}},
		"target's name":    {[]string{"--to", "target7=" + s.Targets[0].Addr.String() + ":7399"}, 4, []string{"target7", "target1"}},
		"other authority":  {[]string{"--tls-dir", s.otherAuthority()}, 4, []string{"target1", "authority"}},
		"expired":          {[]string{"--tls-dir", s.expired()}, 4, []string{"client-cert.pem", "expired"}},
		"no certificate":   {[]string{"--tls-dir", t.TempDir()}, 4, []string{"ca-cert.pem"}},
	} {
		t.Run(name, func(t *testing.T) {
			sub := s.within(t)
			sub.sendAs(slices.Concat(s.pathFlags(), []string{"--vm", s.guests[0].QMP}, to, c.flags)...).finish().exits(sub, c.code, c.texts...)
		})
	}
	s.must(s.endVM(t.Context(), "vm1"))
	s.everybody(s.Source)
}

// babbler is a socket that answers with what is no monitor's greeting.
func (s *scene) babbler() string {
	s.t.Helper()
	path := filepath.Join(s.Source.Dir, "babble.qmp")
	l, err := net.Listen("unix", path)
	s.must(err)
	s.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(strings.Repeat("blah blah\n", 100))) // nobody need read it
			c.Close()
		}
	}()
	return path
}

// otherAuthority issues the source's certificates from an authority that the targets do not know.
func (s *scene) otherAuthority() string {
	s.t.Helper()
	ca, dir := filepath.Join(s.dir, "other-ca"), filepath.Join(s.dir, "other")
	s.must(pki.Init(ca))
	s.must(pki.Issue(ca, s.Source.Name, []netip.Addr{s.Source.Addr}, dir))
	return dir
}

// expired issues certificates of the targets' authority that were valid yesterday.
func (s *scene) expired() string {
	s.t.Helper()
	dir := filepath.Join(s.dir, "expired")
	yesterday := time.Now().Add(-24 * time.Hour)
	ca := filepath.Join(s.dir, "old-ca")
	s.must(pki.Init(ca, pki.At(yesterday)))
	s.must(pki.Issue(ca, s.Source.Name, []netip.Addr{s.Source.Addr}, dir, pki.At(yesterday), pki.Life(time.Hour)))
	return dir
}

// A capability that changes the stream is named, and left as it is: it is the operator's.
func TestBadInputCapability(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	m, err := s.guests[1].Monitor(t.Context())
	s.must(err)
	defer m.Close()
	set := func(on bool) {
		s.must(m.Do(t.Context(), "migrate-set-capabilities", map[string]any{
			"capabilities": []map[string]any{{"capability": "xbzrle", "state": on}}}, nil))
	}
	set(true)
	defer set(false)
	s.send("--all-or-none").finish().exits(s, 4, "vm2", "xbzrle", "migrate-set-capabilities")
	s.everybody(s.Source)
	o := s.send().finish()
	o.exits(s, 3, "vm2")
	o.reports(s, evacuated, onSource)
	o.blames(s, s.guests[1], "xbzrle")
	s.standBut(s.guests[1])
}

// A target takes evacuations only from the sources that it allows.
func TestBadInputNameNotAllowed(t *testing.T) {
	s := newScene(t)
	s.receiveAll("--allow-source", "somebody")
	s.send().finish().exits(s, 4, "target1", "--allow-source")
	s.says(s.receivers[0], "allowed: somebody")
	s.everybody(s.Source)
}

// A target whose QEMU lacks the VMs' machine type is not chosen, and is named where none is left.
func TestBadInputMachineType(t *testing.T) {
	s := newScene(t)
	s.receiveAll("--qemu", "/usr/bin/qemu-system-x86_64-microvm")
	s.send().finish().exits(s, 4, "vm1", "target1", "machine type")
	s.everybody(s.Source)
}

// A VM of the same name on the target is left alone. The first one shows that a VM that was paused arrives paused.
func TestBadInputNameTaken(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	send := func(socket string) *outcome {
		flags := append(s.pathFlags(), "--to", s.Targets[0].Name+"="+address(s.Targets[0]), "--vm", socket, "--verify")
		return s.sendAs(flags...).finish()
	}
	send(s.idleVM("twin")).exits(s, 0)
	first := s.processOf("twin", s.Targets[0])
	send(s.idleVM("twin")).exits(s, 4, "twin", s.Targets[0].Name, "already")
	if now := s.processOf("twin", s.Targets[0]); now != first {
		t.Errorf("the VM on the target was process %d and is %d", first, now)
	}
	s.processOf("twin", s.Source)
	s.everybody(s.Source)
}

// Where the source itself may not send to groups, everything goes by unicast.
func TestBadInputUnroutableGroup(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	_, err := s.Source.Run(t.Context(), "nft", "add table ip groups { chain out { type filter hook output priority 0; ip daddr 224.0.1.0-239.255.255.255 drop; }; }")
	s.must(err)
	t.Cleanup(func() {
		if _, err := s.Source.Run(context.WithoutCancel(t.Context()), "nft", "delete table ip groups"); err != nil {
			t.Error(err)
		}
	})
	o := s.send().finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	o.warns(s, s.Targets[0].Name, "unicast")
	s.spread(s.Targets...)
}

func init() { roles["lie"] = func(args []string) error { return lie(args[0], args[1]) } }

// What answers at a target's address has its certificate, and nothing that makes sense to say.
func TestBadInputFromTarget(t *testing.T) {
	s := newScene(t)
	liar := s.play(s.Targets[0], fmt.Sprintf("lie %s %s", deploy.TLSDir(s.Targets[0]), address(s.Targets[0])))
	for range lies {
		flags := append(s.pathFlags(), "--to", s.Targets[0].Name+"="+address(s.Targets[0]), "--vm", s.guests[0].QMP)
		s.sendAs(flags...).finish().exits(s, 4, s.Targets[0].Name)
	}
	s.must(liar.stop())
	s.everybody(s.Source)
}
