package qemu

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu/internal/kit"
	"github.com/scatter-vm/scatter/qemu/process"
)

// source starts a QEMU as an operator would, with a monitor that scatter did not ask for, and discovers it.
func source(t testing.TB, args ...string) (*VM, *Client) {
	t.Helper()
	socket := filepath.Join(kit.ShortDir(t), "src.qmp")
	cmd := exec.Command(kit.NeedQEMU(t), append([]string{"-nodefaults", "-display", "none", "-qmp", "unix:" + socket + ",server=on,wait=off"}, args...)...)
	var stderr process.Tail
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	c, err := dialWhenThere(t.Context(), socket)
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	c.Close()
	return discovered(t, socket)
}

func discovered(t testing.TB, socket string) (*VM, *Client) {
	t.Helper()
	vm, c, err := Discover(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return vm, c
}

func TestQEMUDiscover(t *testing.T) {
	vm, _ := source(t, "-name", "guest=web-1,debug-threads=on", "-M", "pc", "-m", "16", "-smp", "2", "-S", "-device", "VGA")
	if vm.Name != "web-1" || vm.VCPUs != 2 || vm.MemoryBytes != 16<<20 || vm.Status != "prelaunch" || vm.Blockers != nil {
		t.Errorf("vm %+v", *vm)
	}
	if vm.Argv[0] != kit.QEMU || !strings.HasPrefix(vm.Machine, "pc-i440fx-") || vm.Version[0] < 7 || vm.StartTime == 0 {
		t.Errorf("vm %+v", *vm)
	}
	if _, ok := vm.Caps["return-path"]; !ok {
		t.Errorf("capabilities %v", vm.Caps)
	}
	ram := vm.Blocks[slices.IndexFunc(vm.Blocks, func(b RAMBlock) bool { return b.ID == "pc.ram" })]
	if ram.Length != 16<<20 || ram.Host == 0 || !ram.Migratable || ram.PageSize != PageSize || ram.ReadOnly {
		t.Errorf("ram %+v", ram)
	}
	if !slices.ContainsFunc(vm.Blocks, func(b RAMBlock) bool { return strings.HasSuffix(b.ID, "/vga.vram") }) {
		t.Errorf("blocks %+v", vm.Blocks)
	}
}

// The way that is used for QEMU before 8.0 finds the same addresses that newer ones list.
func TestQEMULocateBlocks(t *testing.T) {
	vm, c := source(t, "-M", "q35", "-m", "16,slots=2,maxmem=1G", "-S",
		"-object", "memory-backend-ram,id=mem1,size=128M", "-device", "pc-dimm,id=dimm1,memdev=mem1")
	blocks := slices.Clone(vm.Blocks)
	for i := range blocks {
		blocks[i].Host = 0
	}
	if err := c.LocateBlocks(t.Context(), blocks); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for i, b := range blocks {
		if found[b.ID] = b.Host != 0; b.Host != 0 && b.Host != vm.Blocks[i].Host {
			t.Errorf("%s: %#x, want %#x", b.ID, b.Host, vm.Blocks[i].Host)
		}
	}
	if !found["pc.ram"] || !found["mem1"] || !found["pc.bios"] {
		t.Errorf("found %v", found)
	}
}

// TestQEMUAddress: guest physical addresses are found in the blocks, at the beginning of memory, behind the hole below 4 GiB and in the firmware.
func TestQEMUAddress(t *testing.T) {
	vm, c := source(t, "-M", "q35", "-m", "4G", "-S")
	for _, w := range []struct {
		gpa    uint64
		block  string
		offset uint64
		ok     bool
	}{
		{0x1234, "pc.ram", 0x1234, true}, {0x100000000, "pc.ram", 0x80000000, true}, {0x100001238, "pc.ram", 0x80001238, true},
		{0xfffffff0, "pc.bios", 0x3fff0, true}, {0xf0000000, "", 0, false}, {1<<64 - 1, "", 0, false},
	} {
		block, offset, ok, err := c.Address(t.Context(), vm.Blocks, w.gpa)
		if err != nil || ok != w.ok || ok && (vm.Blocks[block].ID != w.block || offset != w.offset) {
			t.Errorf("%#x: block %d, offset %#x, %v, %v", w.gpa, block, offset, ok, err)
		}
	}
}

func TestQEMUMonitor(t *testing.T) {
	p := launch(t, "-M", "none", "-m", "16")
	c := p.Client
	var schema []any
	if err := c.Do(t.Context(), "query-qmp-schema", nil, &schema); err != nil || len(schema) < 100 {
		t.Errorf("schema of %d entries, %v", len(schema), err)
	}
	err := c.Do(t.Context(), "no-such-thing", nil, nil)
	if e, ok := errors.AsType[*QMPError](err); !ok || e.Class != "CommandNotFound" || e.Command != "no-such-thing" {
		t.Errorf("unknown command: %v", err)
	}
	err = c.PausePostcopy(t.Context()) // out of band: accepted as such, and refused because nothing migrates
	if e, ok := errors.AsType[*QMPError](err); !ok || e.Class != "GenericError" {
		t.Errorf("out-of-band command: %v", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	name := map[string]string{"fdname": "pipe"}
	if err := c.Do(t.Context(), "getfd", name, nil, w); err != nil {
		t.Errorf("getfd: %v", err)
	}
	if err := c.Do(t.Context(), "closefd", name, nil); err != nil {
		t.Errorf("closefd: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, p.Socket); !errors.Is(err, ErrMonitorBusy) {
		t.Errorf("second client: %v", err)
	}
	unix.Kill(p.PID, unix.SIGKILL)
	<-c.Done()
	if err := c.Stop(t.Context()); !errors.Is(err, ErrMonitorClosed) || !strings.Contains(err.Error(), "ended the connection") {
		t.Errorf("after the end of qemu: %v", err)
	}
}

func TestQEMUMemoryOfTarget(t *testing.T) {
	for name, args := range map[string][]string{
		"anonymous": {"-M", "pc", "-m", "16"},
		"memfd":     {"-M", "pc,memory-backend=pc.ram", "-m", "16", "-object", "memory-backend-memfd,id=pc.ram,size=16M,share=on"},
	} {
		t.Run(name, func(t *testing.T) {
			p := launch(t, args...)
			blocks, err := p.Client.RAMBlocks(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			m, err := OpenMemory(p.PID, blocks)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			ram := slices.IndexFunc(blocks, func(b RAMBlock) bool { return b.ID == "pc.ram" })
			if !isZeroNow(t, m, ram) || populatedRuns(t, m, ram) != nil {
				t.Fatalf("fresh RAM: populated %v", populatedRuns(t, m, ram))
			}
			src, got := make([]byte, 300*PageSize), make([]byte, 300*PageSize)
			rand.NewChaCha8([32]byte{1}).Read(src)
			if err := m.WritePages(ram, 1000, 300, src); err != nil {
				t.Fatal(err)
			}
			if err := m.ReadPages(ram, 1000, 300, got); err != nil || !bytes.Equal(got, src) {
				t.Errorf("read back: %v", err)
			}
			if isZeroNow(t, m, ram) {
				t.Error("written RAM is zero")
			}
			for _, run := range populatedRuns(t, m, ram) {
				if run[0] < 512 || run[0]+run[1] > 1536 { // with huge pages more than what was written, but not more than these
					t.Errorf("populated %v", run)
				}
			}
			if z, err := guestBytes(t, p.Client, 1000*PageSize); err != nil || z != src[0] {
				t.Errorf("qemu sees %#x, want %#x: %v", z, src[0], err)
			}
		})
	}
}

func populatedRuns(t testing.TB, m *Memory, block int) [][2]uint32 {
	t.Helper()
	var runs [][2]uint32
	if err := m.Populated(block, func(first, n uint32) error { runs = append(runs, [2]uint32{first, n}); return nil }); err != nil {
		t.Fatal(err)
	}
	return runs
}

func isZeroNow(t testing.TB, m *Memory, block int) bool {
	t.Helper()
	z, err := m.IsZero(block)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// guestBytes has QEMU itself save a piece of guest memory and returns its first byte.
func guestBytes(t testing.TB, c *Client, addr int) (byte, error) {
	file := filepath.Join(kit.ShortDir(t), "mem")
	args := map[string]any{"val": addr, "size": 1, "filename": file}
	if err := c.Do(t.Context(), "pmemsave", args, nil); err != nil {
		return 0, err
	}
	b, err := os.ReadFile(file)
	if err != nil || len(b) != 1 {
		return 0, errors.Join(err, errors.New("one byte expected"))
	}
	return b[0], nil
}

// A whole migration with nothing but this package: the target's command line is made from the source's.
func TestQEMUMigrate(t *testing.T) {
	ctx := t.Context()
	vm, src := source(t, "-M", "pc", "-m", "16", "-smp", "2", "-device", "virtio-net-pci,romfile=", "-serial", "none")
	dir := filepath.Join(kit.ShortDir(t), "run")
	c, err := LaunchPolicy{}.Command(vm.Argv, vm.Name, dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Launch(ctx, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	dst := p.Client

	if err := src.SetCapabilities(ctx, map[string]bool{"return-path": true, "events": true}); err != nil {
		t.Fatal(err)
	}
	hold := Parameters{DowntimeLimit: new(uint64(1000)), MaxBandwidth: new(uint64(0)), AvailSwitchoverBandwidth: new(uint64(0))}
	if err := src.SetParameters(ctx, hold); err != nil {
		t.Fatal(err)
	}
	par, err := src.Parameters(ctx)
	if err != nil || *par.DowntimeLimit != 1000 || *par.MaxBandwidth != 0 || par.AvailSwitchoverBandwidth == nil || *par.TLSCreds != "" {
		t.Errorf("parameters %+v, %v", par, err)
	}
	events := src.Subscribe(100)
	defer events.Close()
	migrate(t, src, dst)
	for ev := range events.C {
		if s := MigrationStatus(str(ev.Data["status"])); ev.Event == "MIGRATION" && s.Ended() {
			break
		}
	}
	info, err := src.QueryMigrate(ctx)
	if err != nil || info.Status != MigrationCompleted || info.RAM == nil || info.RAM.Total < 16<<20 || info.RAM.PageSize != PageSize {
		t.Fatalf("source %+v, %v", info, err)
	}
	for state := (RunState{}); state.Status != "paused"; { // -S: it does not run by itself
		if state, err = dst.Status(ctx); err != nil || state.Running {
			t.Fatalf("target %+v, %v", state, err)
		}
	}
	if err := dst.Cont(ctx); err != nil {
		t.Fatal(err)
	}
	if state, err := dst.Status(ctx); err != nil || !state.Running {
		t.Errorf("target %+v, %v", state, err)
	}
	if err := dst.AnnounceSelf(ctx); err != nil {
		t.Error(err)
	}
	if err := src.Quit(ctx); err != nil {
		t.Error(err)
	}
	<-src.Done()
}

// migrate begins a migration from one QEMU to another.
func migrate(t testing.TB, src, dst *Client) {
	t.Helper()
	in, err := dst.MigrateIncoming(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	out, err := src.Migrate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	go io.Copy(in, out)
	go io.Copy(out, in)
}

func str(v any) string { s, _ := v.(string); return s }

// Nobody reads the socket, so the migration stays active until it is cancelled, and the source runs on.
func TestQEMUCancelMigration(t *testing.T) {
	ctx := t.Context()
	_, c := source(t, "-M", "pc", "-m", "64")
	stream, err := c.Migrate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if err := c.CancelMigration(ctx); err != nil {
		t.Fatal(err)
	}
	for info := (MigrationInfo{}); !info.Status.Ended(); {
		if info, err = c.QueryMigrate(ctx); err != nil {
			t.Fatal(err)
		}
		if info.Status.Ended() && info.Status != MigrationCancelled {
			t.Errorf("status %+v", info)
		}
	}
	if s, err := c.Status(ctx); err != nil || !s.Running {
		t.Errorf("source %+v, %v", s, err)
	}
}

func TestQEMULaunchPreparesTarget(t *testing.T) {
	p := launch(t, "-M", "none", "-m", "16")
	par, err := p.Client.Parameters(t.Context())
	if err != nil || par.AnnounceRounds == nil || *par.AnnounceRounds != 0 {
		t.Errorf("announce rounds %v, %v", par.AnnounceRounds, err)
	}
	caps, err := p.Client.Capabilities(t.Context())
	if err != nil || !caps["late-block-activate"] || !caps["events"] {
		t.Errorf("capabilities %v, %v", slices.Sorted(maps.Keys(caps)), err)
	}
	pid, err := os.ReadFile(strings.TrimSuffix(p.Socket, ".qmp") + ".pid")
	if err != nil || strings.TrimSpace(string(pid)) != itoa(p.PID) {
		t.Errorf("pid file %q, %v", pid, err)
	}
	if s, err := p.Client.Status(t.Context()); err != nil || s.Status != "inmigrate" {
		t.Errorf("status %+v, %v", s, err)
	}
	_, err = Launch(t.Context(), &Command{Argv: []string{kit.QEMU}, RunDir: filepath.Dir(p.Socket), Name: p.Name}, nil)
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second launch of the same name: %v", err)
	}
	p.Kill()
	for _, f := range []string{p.Socket, strings.TrimSuffix(p.Socket, ".qmp") + ".pid"} {
		if _, err := os.Stat(f); err == nil {
			t.Errorf("%s is left", f)
		}
	}
	if err := p.Wait(t.Context()); err == nil {
		t.Error("killed process ended well")
	}
}

// A command line with much in it: what the policy writes anew must be what QEMU understands.
func TestQEMULaunchRichCommand(t *testing.T) {
	dir := kit.ShortDir(t)
	for _, name := range []string{"a.raw", "b,c.raw"} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := strings.Fields(`-name guest=old,debug-threads=on -machine pc,usb=off,dump-guest-core=off -accel tcg -cpu qemu64,+ssse3 -m size=64M,slots=2,maxmem=1G
		-smp 2,sockets=2,cores=1 -uuid 00000000-0000-0000-0000-000000000001 -no-user-config -nodefaults -rtc base=utc,driftfix=slew
		-global kvm-pit.lost_tick_policy=delay -no-shutdown -boot strict=on,menu=on -nographic -msg timestamp=on
		-global PIIX4_PM.disable_s3=1 -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
		-object {"qom-type":"memory-backend-ram","id":"dimm0","size":134217728} -device pc-dimm,id=d0,memdev=dimm0
		-object rng-random,id=rng0,filename=/dev/urandom -device virtio-rng-pci,rng=rng0 -object iothread,id=io1
		-object secret,id=s0,data=aGVsbG8=,format=base64 -object throttle-group,id=tg0,x-iops-total=100
		-drive file=DIR/b,,c.raw,format=raw,if=none,id=d1,readonly -device virtio-blk-pci,drive=d1,iothread=io1,serial=a/b
		-blockdev {"driver":"file","filename":"DIR/a.raw","node-name":"st","auto-read-only":true,"discard":"unmap"}
		-blockdev {"driver":"raw","node-name":"fmt","file":"st","read-only":false,"cache":{"direct":false,"no-flush":false}}
		-device {"driver":"virtio-scsi-pci","id":"scsi0"} -device {"driver":"scsi-hd","bus":"scsi0.0","drive":"fmt","device_id":"x"}
		-netdev hubport,id=n0,hubid=1 -device {"driver":"virtio-net-pci","netdev":"n0","mac":"52:54:00:00:00:01","romfile":""} -device e1000,netdev=n1
		-netdev socket,id=n1,udp=127.0.0.1:1,localaddr=127.0.0.1:0
		-chardev socket,id=mon,path=/nowhere/mon,server,nowait -mon chardev=mon,mode=control -qmp tcp:127.0.0.1:1,server -monitor stdio
		-chardev socket,id=agent,path=DIR/agent,server,nowait -device virtio-serial-pci -device virtserialport,chardev=agent,name=org.qemu.guest_agent.0
		-chardev file,id=f0,path=DIR/serial.log,logfile=DIR/more.log -serial chardev:f0 -serial unix:DIR/s1,server,nowait -serial mon:stdio -serial file:DIR/s3
		-parallel null -vnc unix:DIR/vnc -device VGA -device qemu-xhci -device usb-tablet -audiodev none,id=a0 -device intel-hda -device hda-duplex,audiodev=a0
		-smbios type=1,manufacturer=A/B,product=P -smbios type=11,value=x,value=y -fw_cfg name=opt/x,string=a/b -fw_cfg opt/y,file=DIR/a.raw
		-incoming tcp:0:1 -daemonize -pidfile /nowhere/pid -D /nowhere/log -S`)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "DIR", dir)
	}
	run := filepath.Join(dir, "run")
	policy := LaunchPolicy{AllowPaths: []string{dir}, AllowNetwork: true}
	c, err := policy.Command(append([]string{kit.NeedQEMU(t)}, args...), "vm1", run)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Launch(t.Context(), c, nil)
	if err != nil {
		t.Fatalf("%v\n%q", err, c.Argv)
	}
	t.Cleanup(p.Kill)
	var chardevs []struct{ Label string }
	if err := p.Client.Do(t.Context(), "query-chardev", nil, &chardevs); err != nil {
		t.Error(err)
	}
	monitors := slices.DeleteFunc(chardevs, func(c struct{ Label string }) bool { return !strings.Contains(c.Label, "mon") })
	if len(monitors) != 1 {
		t.Errorf("monitors %v, want scatter's only", monitors)
	}
	vm := discoveredAgain(t, p)
	again, err := policy.Command(vm.Argv, vm.Name, run)
	if err != nil || vm.Name != "vm1" || vm.MemoryBytes != 192<<20 || !slices.Equal(again.Argv, vm.Argv) {
		t.Errorf("vm %+v, %v\n%q", *vm, err, again.Argv)
	}
}

func discoveredAgain(t testing.TB, p *Process) *VM {
	p.Client.Close()
	vm, _ := discovered(t, p.Socket)
	return vm
}
