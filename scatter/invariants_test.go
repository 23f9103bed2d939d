package scatter

import (
	"bytes"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/block"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/pki"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// TestInvariant5NothingIsActedOnBeforeItIsAuthenticated: a stranger's perfectly well-formed messages leave no trace: no
// session, no guest, no record, no answer.
func TestInvariant5NothingIsActedOnBeforeItIsAuthenticated(t *testing.T) {
	s := openSite(t, nil, "target", func(c *RecvConfig) { c.AllowSources = []string{"source"} })
	load := func(dir string) *tls.Config {
		conf, err := pki.LoadClient(dir, "target")
		if err != nil {
			t.Fatal(err)
		}
		conf.InsecureSkipVerify = true // the stranger does not care who listens
		return conf
	}
	stranger := load(kit.NewAuthority(t).Host("source"))
	stranger.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger.Certificates[0], nil }
	nobody := load(s.tlsDir)
	nobody.Certificates, nobody.GetClientCertificate = nil, nil
	for name, conf := range map[string]*tls.Config{
		"certificate of another authority": stranger, "no certificate": nobody, "name that is not allowed": load(s.ca.Host("mallory")),
	} {
		c, err := tls.Dial("tcp", s.target.Addr.String(), conf)
		if err != nil {
			continue // refused even earlier
		}
		defer c.Close()
		for _, m := range []control.Message{
			control.Hello{Version: model.ProtocolVersion, Purpose: control.PurposeControl, Evacuation: testEvacuation},
			control.Begin{Key: make([]byte, 32), Source: kit.Loopback}, control.Prepare{Name: "web", Memory: 1 << 20},
		} {
			if control.NewConn(c, "target", wire.LostAfter).Send(m) != nil {
				break
			}
		}
		if b, _ := io.ReadAll(c); len(b) > 0 {
			t.Errorf("%s: was answered %q", name, b)
		}
	}
	s.alive()
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if len(s.r.sessions)+len(s.r.guests)+len(s.r.names) > 0 || len(readJournal(t, s.r.journal.Path)) > 0 || s.r.room.used != 0 {
		t.Errorf("%d sessions, %d guests, %d bytes of room taken", len(s.r.sessions), len(s.r.guests), s.r.room.used)
	}
}

// heap is the memory in use, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestInvariant6IndexCostsLittle: what the source keeps for each page of guest RAM, from the scan to the end.
func TestInvariant6IndexCostsLittle(t *testing.T) {
	const vms, pages, filled = 4, 1 << 15, 1024
	e := &scanned{seed: testSeed}
	e.log = mustConfig(t).Log
	rnd := rand.New(rand.NewPCG(1, 1))
	for vm := range vms {
		b, mem := kit.OwnRAM(t, pages)
		for range filled {
			kit.Stamp(b[rnd.IntN(pages)*model.PageSize:], uint64(1+rnd.IntN(3*filled)))
		}
		e.vms = append(e.vms, &sourceVM{index: vm, vm: &qemu.VM{Name: "vm"}, mem: mem, blocks: []system.RAMBlock{{Name: "pc.ram", Length: pages * model.PageSize}}})
	}
	before := heap()
	if err := e.scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if each := float64(heap()-before) / (vms * pages); each > 24 {
		t.Errorf("%.1f bytes for each page", each)
	}
	if s := e.index.Stats(); s.Pages != vms*pages || s.Shared == 0 || e.held.Get(dedup.Page(0)) != 0 {
		t.Errorf("scanned %+v", s)
	}
	runtime.KeepAlive(e)
}

func mustConfig(t *testing.T) SendConfig {
	t.Helper()
	c := SendConfig{VMs: []string{"a"}, Targets: []model.TargetAddr{{Name: "h"}}}
	if err := c.setDefaults(); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestInvariant6TargetKeepsNoSecondCopy: however much a target places, it keeps no more than the block in hand.
func TestInvariant6TargetKeepsNoSecondCopy(t *testing.T) {
	const size = 8192 // pages: 32 MiB
	s := openSite(t, nil, "target", nil)
	s.open()
	ram := system.RAMBlock{Name: "pc.ram", Length: size * model.PageSize}
	g, _ := s.guest(0, "web", guestStarting)
	dst, mem := kit.OwnRAM(t, size)
	g.mu.Lock()
	g.ram, g.state = pages.NewRAM([]system.RAMBlock{ram}, mem, true), guestWaiting
	g.mu.Unlock()
	g.ram.Open()
	session := s.session()
	enc, err := block.NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	page, payload := kit.Noise(model.PageSize), []byte(nil)
	var before int64
	for first := 0; first+block.MaxContents <= size; first += block.MaxContents {
		var contents []block.Content
		for i := range block.MaxContents {
			contents = append(contents, block.Content{Owners: []block.Owner{{Page: uint32(first + i)}}, Data: page})
		}
		if payload, err = enc.Append(payload[:0], contents, block.Compression(first%3)); err != nil {
			t.Fatal(err)
		}
		if err := session.intake.Deliver(payload); err != nil {
			t.Fatal(err)
		}
		if first == block.MaxContents {
			before = heap()
		}
	}
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("%d MiB are kept of %d MiB that were placed", grown>>20, len(dst)>>20)
	}
	if !bytes.Equal(dst[model.PageSize*1000:][:model.PageSize], page) {
		t.Error("the pages were not placed")
	}
}

// TestAdoptDespiteABusyMonitor: a VM that runs here belongs to a manager, which may hold its only monitor.
func TestAdoptDespiteABusyMonitor(t *testing.T) {
	dir := t.TempDir()
	rec := handover.Record{Kind: handover.RecDone, Peer: "source", Evacuation: testEvacuation, Name: "web", Memory: 1 << 20, VCPUs: 3, PID: os.Getpid(),
		Socket: filepath.Join(dir, "web.qmp")}
	busy, err := net.Listen("unix", rec.Socket) // accepts nobody
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	j, _ := newJournal(t, filepath.Join(dir, "recv.journal"))
	if err := j.Append(rec); err != nil {
		t.Fatal(err)
	}
	j.Close()
	s := openSite(t, nil, "target", func(c *RecvConfig) { c.RunDir = dir })
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if !s.r.names["web"] || s.r.room.used != rec.Memory || s.r.room.cores != rec.VCPUs {
		t.Errorf("names %v, room %+v: not taken over", s.r.names, s.r.room)
	}
}

// TestAdopt: a receiver takes over what another left behind. What is gone is forgotten, a QEMU that lives but does not answer
// keeps its record.
func TestAdopt(t *testing.T) {
	peer := handover.Record{Peer: "source", Evacuation: testEvacuation, Name: "web", Memory: 1 << 20}
	with := func(k handover.RecordKind, vm, pid int) handover.Record {
		r := peer
		r.Kind, r.VM, r.PID, r.Socket = k, vm, pid, filepath.Join(t.TempDir(), "no.qmp")
		return r
	}
	dead := []handover.Record{with(handover.RecPrepare, 0, 0), with(handover.RecPrepare, 1, kit.DeadPID), with(handover.RecLoaded, 2, kit.DeadPID), with(handover.RecDone, 3, kit.DeadPID), with(handover.RecAbort, 4, 1)}
	for name, c := range map[string]struct {
		records []handover.Record
		kept    int
	}{
		"all are gone":                     {dead, 0},
		"one lives, its monitor is silent": {append(dead, with(handover.RecDone, 5, 1)), len(dead) + 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j, _ := newJournal(t, filepath.Join(dir, "recv.journal"))
			for _, r := range c.records {
				if err := j.Append(r); err != nil {
					t.Fatal(err)
				}
			}
			j.Close()
			s := openSite(t, nil, "target", func(c *RecvConfig) { c.RunDir = dir })
			if n := len(readJournal(t, s.r.journal.Path)); n != c.kept || len(s.r.names) > 0 || s.r.room.used > 0 {
				t.Errorf("%d records, names %v, %d bytes of room taken; want %d records", n, s.r.names, s.r.room.used, c.kept)
			}
			for vm, want := range []control.VMState{control.StateAborted, control.StateAborted, control.StateAborted, control.StateEnded, control.StateAborted} {
				if got := s.r.state(guestKey{sessionKey{"source", testEvacuation}, vm}); got != want {
					t.Errorf("vm %d, which is gone: %s, want %s", vm, got, want)
				}
			}
			s.alive()
		})
	}
}
