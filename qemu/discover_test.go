package qemu

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/qemu/internal/kit"
	"github.com/scatter-vm/scatter/qemu/vmname"
)

// captured is what a QEMU has said.
func captured(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("ram/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// blocksOfQEMU7 are the blocks of the captured 7.2: a q35 machine with 5 GiB, a memory module and a graphics card.
var blocksOfQEMU7 = []RAMBlock{
	{ID: "pc.ram", Index: 0, PageSize: 4096, Length: 5 << 30, MaxLength: 5 << 30, Host: 0x7f0debe00000, Migratable: true},
	{ID: "mem1", Index: 1, PageSize: 4096, Length: 64 << 20, MaxLength: 64 << 20, Host: 0x7f0f33e00000, Migratable: true},
	{ID: "0000:00:01.0/vga.vram", Index: 2, PageSize: 4096, Length: 16 << 20, MaxLength: 16 << 20, Host: 0, Migratable: true},
	{ID: "/rom@etc/acpi/tables", Index: 3, PageSize: 4096, Length: 0x20000, MaxLength: 0x200000, Host: 0, Migratable: true},
	{ID: "pc.bios", Index: 4, PageSize: 4096, Length: 0x40000, MaxLength: 0x40000, Host: 0x7f0f7dc00000, Migratable: true},
	{ID: "pc.rom", Index: 5, PageSize: 4096, Length: 0x20000, MaxLength: 0x20000, Host: 0x7f0f7da00000, Migratable: true},
	{ID: "/rom@etc/table-loader", Index: 6, PageSize: 4096, Length: 0x1000, MaxLength: 0x10000, Host: 0, Migratable: true},
	{ID: "/rom@etc/acpi/rsdp", Index: 7, PageSize: 4096, Length: 0x1000, MaxLength: 0x1000, Host: 0, Migratable: true},
}

// qemu7 answers as QEMU 7.2 did, for the process of the test.
func qemu7(t testing.TB, p *kit.Peer, change map[string]string) {
	gpas := map[string]string{}
	for line := range strings.Lines(captured(t, "qemu7-gpa2hva.txt")) {
		if _, rest, ok := strings.Cut(line, " for "); ok {
			gpa, _, _ := strings.Cut(rest, " ")
			gpas["gpa2hva "+gpa] = line
		}
	}
	replies := map[string]string{
		"query-name":                 `{"name": "web-1"}`,
		"qom-get":                    `"pc-q35-7.2-machine"`,
		"query-cpus-fast":            fmt.Sprintf(`[{"thread-id": %d}, {"thread-id": %[1]d}]`, os.Getpid()),
		"query-memory-size-summary":  `{"base-memory": 5368709120, "plugged-memory": 67108864}`,
		"query-migrate-capabilities": `[{"state": false, "capability": "xbzrle"}, {"state": true, "capability": "events"}]`,
		"query-migrate":              `{"blocked-reasons": ["device says no"]}`,
		"query-status":               `{"status": "running", "singlestep": false, "running": true}`,
		"info ramblock":              quote(captured(t, "qemu7-ramblock.txt")),
		"info mtree -f":              quote(captured(t, "qemu7-mtree.txt")),
	}
	for k, v := range gpas {
		replies[k] = quote(v)
	}
	for k, v := range change {
		replies[k] = v
	}
	p.Greet()
	for {
		cmd, ok := p.Next()
		if !ok {
			return
		}
		key := cmd.Execute
		if key == "human-monitor-command" {
			var args map[string]string
			json.Unmarshal(cmd.Arguments, &args)
			key = args["command-line"]
		}
		if reply, ok := replies[key]; ok {
			p.Reply(cmd, reply)
		} else {
			p.Say(`{"error": {"class": "GenericError", "desc": "%s?"}, "id": %d}`, key, cmd.ID)
		}
	}
}

func quote(s string) string {
	b, _ := json.Marshal(strings.ReplaceAll(s, "\n", "\r\n"))
	return string(b)
}

func TestDiscoverQEMU7(t *testing.T) {
	vm, c, err := Discover(t.Context(), kit.Monitor(t, func(p *kit.Peer) { qemu7(t, p, nil) }))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := &VM{
		Name: "web-1", Own: "web-1", Socket: c.Socket(), PID: os.Getpid(), StartTime: vm.StartTime, Argv: os.Args, Version: [3]int{7, 2, 22},
		Machine: "pc-q35-7.2", VCPUs: 2, MemoryBytes: 5<<30 + 64<<20, Blocks: blocksOfQEMU7, Status: "running",
		Caps: map[string]bool{"xbzrle": false, "events": true}, Blockers: []string{"device says no"},
	}
	if d := cmp.Diff(vm, want); d != "" {
		t.Error(d)
	}
}

// A running guest may change its memory map between the questions. What is not certain stays unknown.
func TestDiscoverQEMU7MapChanges(t *testing.T) {
	for _, answer := range []string{
		"Host virtual address for 0x100000000 (pc.bios) is 0x7f0f7dc00000", "Host virtual address for 0x100000000 (pc.ram) is 0x1000",
		"No memory is mapped at address 0x100000000", "Memory at address 0x100000000 is not RAM", "Host virtual address", "",
	} {
		change := map[string]string{"gpa2hva 0x100000000": quote(answer)}
		vm, c, err := Discover(t.Context(), kit.Monitor(t, func(p *kit.Peer) { qemu7(t, p, change) }))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if vm.Blocks[0].Host != 0 || vm.Blocks[1].Host != blocksOfQEMU7[1].Host {
			t.Errorf("%q: %+v", answer, vm.Blocks[:2])
		}
	}
}

func TestDiscoverRefuses(t *testing.T) {
	for name, change := range map[string]map[string]string{
		"foreign vcpu":  {"query-cpus-fast": `[{"thread-id": 1}]`},
		"no table":      {"info ramblock": `"nonsense"`},
		"odd address":   {"gpa2hva 0x100000000": `"Host virtual address for 0x100000000 (pc.ram) is 0x7f0e6be00001"`},
		"wrong type":    {"query-memory-size-summary": `[]`},
		"machine":       {"qom-get": `7`},
		"no capability": {"query-migrate-capabilities": `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Discover(t.Context(), kit.Monitor(t, func(p *kit.Peer) { qemu7(t, p, change) }))
			if err == nil {
				t.Error("accepted")
			}
		})
	}
}

// TestTellApart: VMs whose sockets have the same name get names of their own, unless they were given some.
func TestTellApart(t *testing.T) {
	a, b, c := &VM{Name: "qmp", Socket: "/run/a/qmp.sock"}, &VM{Name: "qmp", Socket: "/run/b/qmp.sock"}, &VM{Name: "qmp", Own: "qmp"}
	for _, vm := range []*VM{a, b, c} {
		vm.TellApart()
	}
	if a.Name == b.Name || CheckName(a.Name) != nil || c.Name != "qmp" || vmname.OfSocket("/run/vm3.qmp") != "vm3" || vmname.OfSocket("/run/mon") != "mon" {
		t.Errorf("%s %s %s", a.Name, b.Name, c.Name)
	}
}
