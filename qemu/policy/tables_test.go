package policy

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/bench/tried"
	"github.com/scatter-vm/scatter/qemu/internal/kit"
	"github.com/scatter-vm/scatter/qemu/survey"
)

// TestPolicyTables shows the launch policy at work on what is in testdata. The tables say themselves how they are written.
func TestPolicyTables(t *testing.T) {
	kit.NeedQEMU(t) // which knows its devices by other names, too
	t.Run("ordinary", func(t *testing.T) {
		lines := readTable(t, "testdata/ordinary.txt", 60)
		for _, l := range lines {
			c, err := operator.Command(l.words, "vm", "/run/scatter-test")
			l.check(t, c, err, error.Error)
		}
		tried.Inputs(t, "ordinary command line", len(lines))
	})
	t.Run("hostile", func(t *testing.T) {
		lines := readTable(t, "testdata/hostile.txt", 200)
		for _, l := range lines {
			p := stranger
			p.AllowNetwork = l.directive != "no network"
			c, err := p.Command(append([]string{kit.QEMU, "-nodefaults"}, l.words...), "vm", "/srv/vm/run")
			if l.check(t, c, err, reasons); l.verdict == "ok" {
				t.Errorf("line %d: nothing here may be ok", l.number)
			}
		}
		tried.Inputs(t, "command line of a VM", len(lines))
	})
}

// operator is the policy of a host that has everything the ordinary command lines come from.
var operator = Policy{
	QEMU: kit.QEMU,
	AllowPaths: []string{
		"/srv/vm", "/home/user", "/dev/vg0", "/dev/vhost-vsock", "/dev/shm", "/dev/hugepages", "/dev/dri/renderD128", "/run/vde", "/var/tmp/spdk",
		"/var/lib/vz", "/mnt/pve", "/var/run/qemu-server", "/usr/share/qemu-server", "/dev/pve", "/dev/zvol",
		"/var/lib/libvirt/images", "/var/lib/libvirt/qemu", "/run/libvirt/qemu", "/etc/pki/libvirt-spice", "/var/lib/nova/instances", "/var/run/openvswitch",
		"/opt/gns3", "/opt/kata/share", "/run/vc/vm", "/var/lib/openqa/pool", "/var/lib/microvms", "/var/snap/multipass/common/data",
		"nbd://storage.example.org/", "iscsi://10.0.0.7/iqn.2001-04.com.example:store",
	},
	AllowPrograms: []string{
		"/etc/qemu-ifup", "/etc/qemu-ifdown", "/usr/lib/qemu/qemu-bridge-helper", "/var/lib/qemu-server/pve-bridge", "/var/lib/qemu-server/pve-bridgedown",
		"/usr/libexec/qemu-server/pve-bridge", "/usr/libexec/qemu-server/pve-bridgedown",
	},
	AllowPorts:   []PortRange{{5700, 6923}, {11000, 14999}, {61000, 61999}}, // those of displays, of Ganeti's VNC, of Proxmox's SPICE
	AllowNetwork: true,
	Programs:     new(survey.Programs),
}

// stranger is the policy for hostile command lines. The run directory lies in an allowed place, and must be refused all the same.
var stranger = Policy{QEMU: kit.QEMU, AllowPaths: []string{"/srv/vm"}, AllowInterfaces: []string{"tap*"}, Programs: operator.Programs}

// tableLine is a command line, and what is expected of it.
type tableLine struct {
	number    int
	directive string // the last one before it
	verdict   string
	command   string // as it is written
	words     []string
}

// readTable reads a table and tells how many lines of each kind there are. A line that is there twice would only make it longer.
func readTable(t *testing.T, name string, least int) (all []tableLine) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	directive, seen, kinds := "", map[string]bool{}, map[string]int{}
	for i, line := range strings.Split(string(b), "\n") {
		if d, ok := strings.CutPrefix(line, "#! "); ok {
			directive = d
		}
		if line == "" || line[0] == '#' {
			continue
		}
		verdict, command, ok := strings.Cut(line, " | ")
		if !ok || verdict == "" || seen[command] {
			t.Errorf("%s:%d: no verdict, or a command line that was there before", name, i+1)
		}
		seen[command] = true
		kinds[verdict]++
		all = append(all, tableLine{i + 1, directive, verdict, command, tableWords(command)})
	}
	for _, verdict := range slices.Sorted(maps.Keys(kinds)) {
		t.Logf("%3d %s", kinds[verdict], verdict)
	}
	if t.Logf("%3d in all", len(all)); len(all) < least {
		t.Errorf("%s: %d lines, want %d", name, len(all), least)
	}
	return all
}

var tableByte = regexp.MustCompile(`\\x[0-9a-f]{2}`)

// tableWords takes a command line apart. Only then it puts in the bytes that a word of a table cannot have.
func tableWords(command string) []string {
	words := strings.Split(command, " ")
	for i := range words {
		words[i] = tableByte.ReplaceAllStringFunc(words[i], func(s string) string {
			n, _ := strconv.ParseUint(s[2:], 16, 8) // the pattern sees to it
			return string([]byte{byte(n)})
		})
	}
	return words
}

// check compares what became of a command line with what is expected.
func (l tableLine) check(t *testing.T, c *Command, err error, say func(error) string) {
	t.Helper()
	switch {
	case err == nil && l.verdict != "ok":
		t.Errorf("line %d: accepted as %q\nwant %s\n%s", l.number, c.Argv, l.verdict, l.command)
	case err != nil && (l.verdict == "ok" || !strings.Contains(say(err), l.verdict)):
		t.Errorf("line %d: %v\nwant %s\n%s", l.number, err, l.verdict, l.command)
	}
}

// reasons are why a command line is refused, without its own words: they could be those of any verdict.
func reasons(err error) string {
	all, _ := errors.AsType[Errors](err)
	var words []string
	for _, e := range all {
		words = append(words, e.Reason)
	}
	return strings.Join(words, "; ")
}
