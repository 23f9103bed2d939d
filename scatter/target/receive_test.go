package target

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/scatter-vm/scatter/bench/tried"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/block"
	"github.com/scatter-vm/scatter/scatter/bounds"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/enginekit"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/pki"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/target/life"
	"github.com/scatter-vm/scatter/scatter/wire"
)

func TestReceiveWelcomes(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	w := s.open().Welcome
	if w.Name != "target" || w.Version != model.ProtocolVersion || w.Memory != 1<<30 || w.VCPUs != 8 || w.VMs == nil || w.QEMU != "" || w.Error != "" {
		t.Errorf("welcome %+v", w)
	}
}

func TestReceiveServesUntilItsContextEnds(t *testing.T) {
	ca := kit.NewAuthority(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg := Config{Name: "target", Listen: netip.AddrPortFrom(kit.Loopback, 0), Interface: "lo", TLSDir: ca.Host("target"), RunDir: t.TempDir(),
		Ready: func(netip.AddrPort) { cancel() }}
	cfg.Policy.QEMU = noQEMU
	if err := Receive(ctx, cfg); err != nil {
		t.Error(err)
	}
	enginekit.NewJournal(t, filepath.Join(cfg.RunDir, "recv.journal")) // its lock is free again
}

func TestReceiveRefusesItsOwnConfig(t *testing.T) {
	ca := kit.NewAuthority(t)
	good := Config{Name: "target", Listen: netip.AddrPortFrom(kit.Loopback, 0), Interface: "lo", TLSDir: ca.Host("target"), RunDir: t.TempDir()}
	good.Policy.QEMU = noQEMU
	for want, spoil := range map[string]func(*Config){
		"name: must be this host's": func(c *Config) { c.Name = "" },
		"interface nowhere":         func(c *Config) { c.Interface = "nowhere" },
		"run directory":             func(c *Config) { c.RunDir = "/proc/nowhere" },
		"no such file":              func(c *Config) { c.TLSDir = t.TempDir() },
		"listen on 192.0.2.1":       func(c *Config) { c.Listen = netip.MustParseAddrPort("192.0.2.1:1") },
	} {
		c := good
		spoil(&c)
		if err := Receive(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	enginekit.NewJournal(t, filepath.Join(good.RunDir, "recv.journal"))
	if err := Receive(t.Context(), good); !errors.Is(err, journal.ErrBusy) {
		t.Errorf("two receivers in one run directory: %v", err)
	}
}

// TestReceiveRefusesASourceByName: the name in the certificate decides, before the first frame is read.
func TestReceiveRefusesASourceByName(t *testing.T) {
	s := openSite(t, nil, "target", func(c *Config) { c.AllowSources = []string{"source"} })
	d := s.dialer()
	d.TLSDir = s.ca.Host("mallory")
	_, err := wire.Open(t.Context(), d)
	if e, ok := errors.AsType[*pki.Error](err); !ok || !strings.Contains(err.Error(), "target=127.0.0.1") || e.Remedy == "" {
		t.Errorf("got %v", err)
	}
	d.TLSDir = kit.NewAuthority(t).Host("source")
	if _, err := wire.Open(t.Context(), d); err == nil || !strings.Contains(err.Error(), "authority") {
		t.Errorf("a source of another authority: %v", err)
	}
	kit.Eventually(t, func() bool { return strings.Contains(s.log.String(), "mallory") })
	s.alive()
}

// TestLinkRefusesATargetByName: a source talks to nobody but the host that it means.
func TestLinkRefusesATargetByName(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	d := s.dialer()
	d.Target.Name = "other"
	if _, err := wire.Open(t.Context(), d); err == nil || !strings.Contains(err.Error(), "not for other") {
		t.Errorf("got %v", err)
	}
	d.Target.Name = "" // then the address must be in the certificate
	l, err := wire.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestLinkWhereNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	d := wire.Dialer{Target: model.TargetAddr{Addr: addr}, TLSDir: kit.NewAuthority(t).Host("source"), Evacuation: testEvacuation, Sent: new(atomic.Int64)}
	_, err = wire.Open(t.Context(), d)
	if err == nil || !strings.Contains(err.Error(), "is 'scatter recv' running there?") || strings.Count(err.Error(), addr.String()) > 2 {
		t.Errorf("got %v", err)
	}
}

// TestReceiveRefusesHello: a peer that says something else than this version understands is told why.
func TestReceiveRefusesHello(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	good := control.Hello{Version: model.ProtocolVersion, Purpose: control.PurposeControl, Evacuation: testEvacuation}
	for want, change := range map[string]func(*control.Hello){
		fmt.Sprintf("version 99 there, %d here", model.ProtocolVersion): func(h *control.Hello) { h.Version = 99 },
		fmt.Sprintf("version 0 there, %d here", model.ProtocolVersion):  func(h *control.Hello) { h.Version = 0 },
		"evacuation id \"\": must be 16":                                func(h *control.Hello) { h.Evacuation = "" },
		"evacuation id \"../../etc\"":                                   func(h *control.Hello) { h.Evacuation = "../../etc" },
		"evacuation id \"0011223344556677889900\"":                      func(h *control.Hello) { h.Evacuation = "0011223344556677889900" },
		"purpose \"conquer\": unknown":                                  func(h *control.Hello) { h.Purpose = "conquer" },
	} {
		h := good
		change(&h)
		c := control.NewConn(s.tls(), "target", wire.LostAfter)
		if err := c.Send(h); err != nil {
			t.Fatal(err)
		}
		m, err := c.Receive()
		if w, ok := m.(control.Welcome); !ok || !strings.Contains(w.Error, want) || w.Version != model.ProtocolVersion || w.VMs != nil {
			t.Errorf("got %+v, %v, want %q", m, err, want)
		}
		if m, err := c.Receive(); err == nil {
			t.Errorf("%s: the connection goes on with %+v", want, m)
		}
	}
	s.alive()
}

// TestReceiveRefusesGarbage: whatever comes instead of a hello ends its connection and nothing else.
func TestReceiveRefusesGarbage(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	frame := func(typ control.Type, body string) []byte {
		return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+1)), byte(typ)), body...)
	}
	for name, b := range map[string][]byte{
		"empty frame":     {0, 0, 0, 0},
		"oversized frame": append(binary.BigEndian.AppendUint32(nil, control.MaxFrame+1), 1),
		"longest length":  {0xff, 0xff, 0xff, 0xff, 1},
		"not JSON":        frame(control.TypeHello, "garbage"),
		"unknown type":    frame(250, "{}"),
		"another message": frame(control.TypeRun, `{"vm":0}`),
		"HTTP":            []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		c := s.tls()
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(c); len(got) > 0 {
			t.Errorf("%s was answered: %q", name, got)
		}
	}
	raw, err := net.Dial("tcp", s.target.Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.Write([]byte("SSH-2.0-OpenSSH_9.2\r\n"))
	io.ReadAll(raw) // an alert, then the end
	s.alive()
}

// TestReceiveOfACutHello: half a hello is none, and a peer that hangs in the middle does not hold up the receiver's end.
func TestReceiveOfACutHello(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	whole := []byte{0, 0, 0, 3, byte(control.TypeHello), '{', '}'}
	for n := range whole {
		c := s.tls()
		if _, err := c.Write(whole[:n]); err != nil {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(c); len(got) > 0 {
			t.Errorf("%d bytes were answered: %q", n, got)
		}
	}
	hanging := s.tls()
	if _, err := hanging.Write(whole[:3]); err != nil {
		t.Fatal(err)
	}
	s.alive()
	s.stop()
	if _, err := hanging.Read(make([]byte, 1)); err == nil {
		t.Error("the hanging connection outlives its receiver")
	}
}

// TestLinkToAnotherVersion: a target that is too new, or too old, is named with both versions, whatever else it says.
func TestLinkToAnotherVersion(t *testing.T) {
	ca := kit.NewAuthority(t)
	conf, err := pki.LoadServer(ca.Host("target"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, answer := range []control.Message{control.Welcome{Version: 99, Error: "control protocol version 3 there, 99 here"}, control.Welcome{Version: 99}, control.Ping{}} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan struct{})
		go func() {
			defer close(served)
			raw, err := l.Accept()
			if err != nil {
				return
			}
			defer raw.Close()
			c := control.NewConn(raw, "source", wire.LostAfter)
			if _, err := c.Receive(); err == nil {
				c.Send(answer)
			}
			c.Receive() // its end
		}()
		d := wire.Dialer{Target: model.TargetAddr{Name: "target", Addr: l.Addr().(*net.TCPAddr).AddrPort()}, TLSDir: ca.Host("source"), Evacuation: testEvacuation, Sent: new(atomic.Int64)}
		_, err = wire.Open(t.Context(), d)
		version, ok := errors.AsType[*wire.VersionError](err)
		if w, is := answer.(control.Welcome); is && (!ok || version.Ours != model.ProtocolVersion || version.Theirs != w.Version) {
			t.Errorf("answer %+v: %v", answer, err)
		} else if !is && (err == nil || !strings.Contains(err.Error(), "answered ping to hello")) {
			t.Errorf("answer %+v: %v", answer, err)
		}
		l.Close()
		<-served
	}
}

// TestOneControlConnectionPerEvacuation: a second one is refused while the first lives, and only then.
func TestOneControlConnectionPerEvacuation(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	first := s.open()
	if _, err := wire.Open(t.Context(), s.dialer()); err == nil || !strings.Contains(err.Error(), "is already connected") {
		t.Errorf("got %v", err)
	}
	other := s.dialer()
	other.Evacuation = "ffeeddccbbaa9988"
	l, err := wire.Open(t.Context(), other)
	if err != nil {
		t.Fatalf("another evacuation: %v", err)
	}
	l.Close()
	other = s.dialer()
	other.TLSDir = s.ca.Host("another-source")
	if l, err = wire.Open(t.Context(), other); err != nil {
		t.Fatalf("an evacuation of the same number by another source: %v", err)
	}
	l.Close()
	first.Close()
	kit.Eventually(t, func() bool {
		l, err := wire.Open(t.Context(), s.dialer())
		if err == nil {
			l.Close()
		}
		return err == nil
	})
}

func TestReceiveBoundsEvacuations(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	s.r.mu.Lock()
	for i := range bounds.MaxSessions {
		s.r.sessions[sessionKey{"other", string(rune(i))}] = &session{}
	}
	s.r.mu.Unlock()
	if _, err := wire.Open(t.Context(), s.dialer()); err == nil || !strings.Contains(err.Error(), "which is the most") {
		t.Errorf("got %v", err)
	}
}

func TestStreamOfUnknownVM(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	s.open()
	d := s.dialer()
	for _, vm := range []int{0, -1, 1 << 40} {
		if _, _, err := d.Dial(t.Context(), control.Hello{Purpose: control.PurposeStream, VM: vm}); err == nil || !strings.Contains(err.Error(), "no such VM was prepared") {
			t.Errorf("vm %d: %v", vm, err)
		}
	}
}

// TestStreamOfAnotherSource: what one source has prepared, another cannot touch.
func TestStreamOfAnotherSource(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	s.open()
	g, _ := s.guest(0, "web", life.Waiting)
	d := s.dialer()
	d.TLSDir = s.ca.Host("mallory")
	if _, _, err := d.Dial(t.Context(), control.Hello{Purpose: control.PurposeStream}); err == nil || !strings.Contains(err.Error(), "no such VM") {
		t.Errorf("stream: %v", err)
	}
	for _, m := range []control.Message{control.Query{}, control.Run{}, control.Abort{}} {
		if got, err := wire.Exchange(t.Context(), d, m); err != nil || got != (control.State{State: control.StateUnknown}) {
			t.Errorf("%s: %+v, %v", m.Type(), got, err)
		}
	}
	if g.where() != control.StateHeld {
		t.Errorf("the guest is %s", g.where())
	}
}

func TestRecoverQueries(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	s.guest(1, "waiting", life.Waiting)
	loaded, _ := s.guest(2, "loaded", life.Loaded)
	s.guest(3, "running", life.Running)
	for vm, want := range []control.VMState{control.StateUnknown, control.StateHeld, control.StateLoaded, control.StateRunning} {
		if got, err := wire.AskState(t.Context(), s.dialer(), vm); err != nil || got != want {
			t.Errorf("vm %d is %s, %v; want %s", vm, got, err, want)
		}
	}
	d := s.dialer()
	got, err := wire.Exchange(t.Context(), d, control.Run{VM: 1})
	if f, ok := got.(control.Failed); !ok || f.VM != 1 || !strings.Contains(f.Error, "not loaded") {
		t.Errorf("Run of a VM that is not loaded: %+v, %v", got, err)
	}
	for vm, want := range map[int]control.VMState{1: control.StateAborted, 2: control.StateAborted, 3: control.StateRunning} {
		if got, err := wire.Exchange(t.Context(), d, control.Abort{VM: vm, Reason: "test"}); err != nil || got != (control.State{VM: vm, State: want}) {
			t.Errorf("Abort of vm %d: %+v, %v; want %s", vm, got, err, want)
		}
	}
	if got, err := wire.Exchange(t.Context(), d, control.Run{VM: 2}); err != nil || got.Type() != control.TypeFailed || loaded.where() != control.StateAborted {
		t.Errorf("Run of a VM that was given up: %+v, %v", got, err)
	}
	if got, err := wire.Exchange(t.Context(), d, control.Prepare{}); err == nil {
		t.Errorf("a recovery may prepare: %+v", got)
	}
	s.r.mu.Lock()
	delete(s.r.guests, guestKey{sessionKey{"source", testEvacuation}, 3}) // there is no QEMU behind it
	s.r.mu.Unlock()
}

// TestSessionRefusesDisorder: a source that does not keep to the protocol loses its connection, nobody else does.
func TestSessionRefusesDisorder(t *testing.T) {
	key := make([]byte, 32)
	begin := control.Begin{Key: key, Source: kit.Loopback, Window: model.WindowBytes}
	cases := []struct {
		name     string
		messages []control.Message
		log      string
	}{
		{"multicast before begin", []control.Message{control.Multicast{Body: []byte{1}}}, "multicast before begin"},
		{"garbage for multicast", []control.Message{begin, control.Multicast{Body: []byte{250, 1, 2}}}, "source source"},
		{"begin twice", []control.Message{begin, begin}, "begin came twice"},
		{"short key", []control.Message{control.Begin{Key: key[1:], Source: kit.Loopback}}, "malformed"},
		{"no source address", []control.Message{control.Begin{Key: key}}, "malformed"},
		{"multicast source address", []control.Message{control.Begin{Key: key, Source: enginekit.GroupBase}}, "malformed"},
		{"vm number below 0", []control.Message{control.Prepare{VM: -1, Name: "web"}}, "vm number -1"},
		{"vm number too large", []control.Message{control.Prepare{VM: maxVMs, Name: "web"}}, "vm number 4096"},
		{"hello twice", []control.Message{control.Hello{}}, "unexpected hello"},
		{"data", []control.Message{control.Data{}}, "unexpected data"},
		{"a target's own message", []control.Message{control.Loaded{}}, "unexpected loaded"},
		{"a name that is none", []control.Message{control.Prepare{VM: 1, Name: "a\nb"}}, "not a name"},
		{"a name without end", []control.Message{control.Examine{VM: 1, Name: strings.Repeat("x", 60_000)}}, "not a name"},
	}
	tried.Inputs(t, "order of a source's messages", len(cases))
	s := openSite(t, nil, "target", nil)
	for i, c := range cases {
		d := s.dialer()
		d.Evacuation = "00000000000000" + string("0123456789abcdef"[i/16]) + string("0123456789abcdef"[i%16])
		l, err := wire.Open(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range c.messages {
			if err := l.Conn.Send(m); err != nil {
				t.Fatal(err)
			}
		}
		for err == nil {
			_, err = next(t, l.Conn)
		}
		l.Close()
		kit.Eventually(t, func() bool { return strings.Contains(s.log.String(), c.log) })
	}
	s.alive()
}

// TestSessionAnswersForUnknownVMs: words about a VM that was never prepared are answered, and end nothing.
func TestSessionAnswersForUnknownVMs(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	l := s.open()
	for _, m := range []control.Message{control.Run{VM: 5}, control.Abort{VM: 5}, control.Digest{VM: 5}} {
		if err := l.Conn.Send(m); err != nil {
			t.Fatal(err)
		}
		got, err := next(t, l.Conn)
		if f, ok := got.(control.Failed); !ok || f.VM != 5 || !strings.Contains(f.Error, "no such VM") {
			t.Errorf("%s: %+v, %v", m.Type(), got, err)
		}
	}
}

// TestPrepareRefused: what this host would not start is refused by name, and its name and room are free again.
func TestPrepareRefused(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	l := s.open()
	argv := []string{noQEMU, "-name", "guest=web", "-nic", "none", "-m", "1"}
	good := control.Prepare{Name: "web", Memory: 1 << 20, VCPUs: 1, Argv: argv, Blocks: []control.Block{{ID: "pc.ram", Length: 1 << 20}}}
	cases := []struct {
		want   string
		change func(*control.Prepare)
	}{
		{"MiB free (recv --memory)", func(p *control.Prepare) { p.Memory = 1 << 40 }},
		{"(recv --vcpus)", func(p *control.Prepare) { p.VCPUs = 9 }},
		{"memory of -1", func(p *control.Prepare) { p.Memory = -1 }},
		{"../../etc/passwd", func(p *control.Prepare) { p.Name = "../../etc/passwd" }},
		{"vm : ", func(p *control.Prepare) { p.Name = "" }},
		{"length 4097", func(p *control.Prepare) { p.Blocks[0].Length = 4097 }},
		{"no room: 7936 MiB wanted", func(p *control.Prepare) { p.Blocks[0].Length = 8 << 30 }},
		{"ram blocks of", func(p *control.Prepare) {
			p.Blocks = slices.Repeat([]control.Block{{ID: "pc.ram", Length: 640 << 20}}, 2)
		}},
		{"vm web: ", func(p *control.Prepare) { p.Argv = []string{"/bin/sh", "-c", "true"} }},
		{"vm web: ", func(p *control.Prepare) { p.Argv = nil }},
		{"asks for 2 MiB of memory, and the source has announced 1 MiB", func(p *control.Prepare) { p.Argv = append(slices.Clip(p.Argv), "-m", "2") }},
		{"nonexistent", func(p *control.Prepare) {}},
	}
	for vm, c := range cases {
		p := good
		p.VM, p.Blocks = vm, []control.Block{good.Blocks[0]}
		c.change(&p)
		if err := l.Conn.Send(p); err != nil {
			t.Fatal(err)
		}
		got, err := next(t, l.Conn)
		if f, ok := got.(control.Failed); !ok || f.VM != vm || !strings.Contains(f.Error, c.want) {
			t.Errorf("got %+v, %v, want %q", got, err, c.want)
		}
	}
	if w := s.r.welcome(); w.Memory != 1<<30 || w.VCPUs != 8 || len(w.VMs) > 0 {
		t.Errorf("after all were refused: %+v", w)
	}
}

// TestPrepareTwice: numbers and names are used once.
func TestPrepareTwice(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	l := s.open()
	s.guest(0, "web", life.Waiting)
	for want, p := range map[string]control.Prepare{"was already prepared": {VM: 0, Name: "db"}, "a VM called web is here already": {VM: 1, Name: "web"}} {
		if err := l.Conn.Send(p); err != nil {
			t.Fatal(err)
		}
		got, err := next(t, l.Conn)
		if f, ok := got.(control.Failed); !ok || !strings.Contains(f.Error, want) {
			t.Errorf("got %+v, %v, want %q", got, err, want)
		}
	}
	if w := s.r.welcome(); w.Memory != 1<<30-1<<20 || len(w.VMs) != 1 {
		t.Errorf("%+v", w)
	}
}

func TestExamine(t *testing.T) {
	s := openSite(t, nil, "target", func(c *Config) { c.Policy.QEMU = kit.RealQEMU })
	l := s.open()
	argv := []string{noQEMU, "-name", "guest=web", "-nic", "none"}
	for _, c := range []struct {
		m    control.Examine
		want string
	}{
		{control.Examine{VM: 1, Name: "web", Argv: argv, Machine: "pc"}, ""},
		{control.Examine{VM: 2, Name: "web", Argv: argv, Machine: "q99"}, `machine type "q99"`},
		{control.Examine{VM: 3, Name: "a/b", Argv: argv, Machine: "pc"}, "a/b"},
		{control.Examine{VM: 4, Name: "web", Argv: append(argv, "-drive", "file=/etc/shadow"), Machine: "pc"}, "/etc/shadow"},
	} {
		if err := l.Conn.Send(c.m); err != nil {
			t.Fatal(err)
		}
		got, err := next(t, l.Conn)
		if e, ok := got.(control.Examined); !ok || e.VM != c.m.VM || (c.want == "") != (e.Error == "") || !strings.Contains(e.Error, c.want) {
			t.Errorf("got %+v, %v, want %q", got, err, c.want)
		}
	}
}

// TestSourceLostWhileGuestsWait: guests that are not complete are given up with their source, a loaded one waits for its word.
func TestSourceLostWhileGuestsWait(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	l := s.open()
	waiting, _ := s.guest(0, "waiting", life.Waiting)
	streaming, _ := s.guest(1, "streaming", life.Streaming)
	loaded, _ := s.guest(2, "loaded", life.Loaded)
	l.Conn.Close() // as a source that dies
	kit.Eventually(t, func() bool { return s.r.guest(waiting.key) == nil && s.r.guest(streaming.key) == nil })
	if waiting.where() != control.StateAborted || streaming.where() != control.StateAborted || loaded.where() != control.StateLoaded {
		t.Errorf("states %s, %s, %s", waiting.where(), streaming.where(), loaded.where())
	}
	if w := s.r.welcome(); w.Memory != 1<<30-1<<20 || len(w.VMs) != 1 || w.VMs[0] != "loaded" {
		t.Errorf("welcome %+v", w)
	}
	vms, _ := handover.Histories(enginekit.ReadJournal(t, s.r.journal.Path))
	if len(vms) != 2 || vms[0].Last.Kind != handover.RecAbort || vms[1].Last.Kind != handover.RecAbort {
		t.Errorf("journal of %d VMs", len(vms))
	}
	if got, err := wire.AskState(t.Context(), s.dialer(), 2); err != nil || got != control.StateLoaded {
		t.Errorf("the loaded one is %s, %v", got, err)
	}
}

// TestReceiverStops: its own end gives up what waits, and leaves alone what is loaded.
func TestReceiverStops(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	s.open()
	waiting, _ := s.guest(0, "waiting", life.Waiting)
	loaded, _ := s.guest(1, "loaded", life.Loaded)
	s.stop()
	if waiting.where() != control.StateAborted || loaded.where() != control.StateLoaded {
		t.Errorf("states %s, %s", waiting.where(), loaded.where())
	}
}

// feeding sends messages on the stream connection of a guest and returns what its QEMU would have got.
func (s *site) feeding(g *guest, far net.Conn, messages ...control.Message) []byte {
	s.t.Helper()
	d := s.dialer()
	c, _, err := d.Dial(s.t.Context(), control.Hello{Purpose: control.PurposeStream, VM: g.key.vm})
	if err != nil {
		s.t.Fatal(err)
	}
	got := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(far)
		got <- b
	}()
	for _, m := range messages {
		if err := c.Send(m); err != nil {
			break // the receiver has had enough
		}
	}
	for err == nil {
		_, err = c.Receive() // its end tells that all was handled
	}
	c.Close()
	if g.where() != control.StateAborted {
		g.grip.in.Close()
	}
	return <-got
}

func packed(t *testing.T, b []byte) control.Packed {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return control.Packed{Body: z.EncodeAll(b, nil)}
}

func TestFeed(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	s.open()
	g, far := s.guest(0, "web", life.Waiting)
	got := s.feeding(g, far, control.Data{Body: []byte("head ")}, packed(t, []byte("middle ")), control.Data{}, control.Data{Body: []byte("tail")}, control.DataEnd{})
	if string(got) != "head middle tail" || g.where() != control.StateLoading {
		t.Errorf("QEMU got %q, the guest is %s", got, g.where())
	}
}

// TestFeedBreaksOff: a stream that is cut, or is none, ends its guest and is told to the source.
func TestFeedBreaksOff(t *testing.T) {
	for name, c := range map[string]struct {
		messages []control.Message
		want     string
	}{
		"garbage":                            {[]control.Message{control.Packed{Body: []byte("garbage")}}, "stream: "},
		"a bomb":                             {[]control.Message{packed(t, make([]byte, 4<<20))}, "stream: "},
		"a word":                             {[]control.Message{control.Run{}}, "unexpected run"},
		"lacks without a region":             {[]control.Message{control.Lacks{Body: []byte{1}}}, "malformed lacks"},
		"lacks cut off":                      {[]control.Message{control.Lacks{Body: make([]byte, 9)}}, "malformed lacks"},
		"lacks of no region":                 {[]control.Message{control.Lacks{Body: control.AppendRun(control.AppendLacks(nil, 5), 0, 1)}}, "none of which travel with it"},
		"a VM that was not to lack pages":    {[]control.Message{control.TakeOver{}}, "was not prepared to take over"},
		"pages before the VM has taken over": {[]control.Message{control.Pages{Body: control.AppendPage(nil, 0, 0, nil)}}, "none of which travel with it"},
	} {
		t.Run(name, func(t *testing.T) {
			s := openSite(t, nil, "target", nil)
			l := s.open()
			g, far := s.guest(0, "web", life.Waiting)
			if got := s.feeding(g, far, c.messages...); len(got) > 0 {
				t.Errorf("QEMU got %d bytes", len(got))
			}
			wantFailed(t, l, g, c.want)
		})
	}
	t.Run("cut", func(t *testing.T) {
		s := openSite(t, nil, "target", nil)
		l := s.open()
		g, far := s.guest(0, "web", life.Waiting)
		go io.Copy(io.Discard, far)
		d := s.dialer()
		c, _, err := d.Dial(t.Context(), control.Hello{Purpose: control.PurposeStream})
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		wantFailed(t, l, g, "broke off")
	})
}

func wantFailed(t *testing.T, l *wire.Link, g *guest, want string) {
	t.Helper()
	m, err := next(t, l.Conn)
	if f, ok := m.(control.Failed); !ok || f.VM != g.key.vm || !strings.Contains(f.Error, want) {
		t.Errorf("the source hears %+v, %v; want %q", m, err, want)
	}
	if g.where() != control.StateAborted {
		t.Errorf("the guest is %s", g.where())
	}
}

// TestFeedTwice: a guest has one stream.
func TestFeedTwice(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	s.open()
	g, _ := s.guest(0, "web", life.Streaming)
	d := s.dialer()
	c, _, err := d.Dial(t.Context(), control.Hello{Purpose: control.PurposeStream})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Receive(); err == nil {
		t.Error("a second stream is read")
	}
	if g.where() != control.StateHeld {
		t.Errorf("the guest is %s", g.where())
	}
}

// blockOf encodes contents of one owner each.
func blockOf(t *testing.T, owners ...block.Owner) []byte {
	t.Helper()
	enc, err := block.NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	var contents []block.Content
	for i, o := range owners {
		contents = append(contents, block.Content{Owners: []block.Owner{o}, Data: bytes.Repeat([]byte{byte(i + 1)}, model.PageSize)})
	}
	b, err := enc.Append(nil, contents, block.Zstd)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDeliver: each guest gets its own pages of a block; one that cannot take them fails alone.
func TestDeliver(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	l := s.open()
	ram := system.RAMBlock{Name: "pc.ram", Length: 16 * model.PageSize}
	good, goodFar := s.guest(0, "good", life.Waiting, ram)
	_, lateFar := s.guest(1, "late", life.Streaming, ram)
	bad, badFar := s.guest(2, "bad", life.Waiting, ram)
	var wrote [3]bytes.Buffer
	ended := make(chan struct{}, 3)
	for i, far := range []net.Conn{goodFar, lateFar, badFar} {
		go func() { io.Copy(&wrote[i], far); ended <- struct{}{} }()
	}
	r := enginekit.OpenRecording(t, "stopped-10.0")
	good.grip.ram.Connect(good.grip.in, writerAfter(t, r, good.grip.in))
	session := s.session()
	payload := blockOf(t, block.Owner{VM: 0, Page: 3}, block.Owner{VM: 1, Page: 3}, block.Owner{VM: 2, Block: 9}, block.Owner{VM: 2, Page: 1 << 30},
		block.Owner{VM: 77, Page: 1}, block.Owner{VM: 0, Page: 15})
	if err := session.intake.Deliver(payload); err != nil {
		t.Fatal(err)
	}
	wantFailed(t, l, bad, "outside of the guest")
	if _, ok := errors.AsType[*block.FormatError](session.intake.Deliver(payload[:9])); !ok {
		t.Error("a damaged block counts as placed")
	}
	s.stop()
	for range 3 {
		<-ended
	}
	if wrote[1].Len()+wrote[2].Len() > 0 {
		t.Errorf("%d bytes to a guest whose stream had begun, %d to one that was given up", wrote[1].Len(), wrote[2].Len())
	}
	got := enginekit.Play(t, append(append(bytes.Clone(r.Header), wrote[0].Bytes()...), r.Source.Rest...), len(r.Header), enginekit.Memory{}).Memory
	if len(got) != 2 || got[enginekit.PageAt{Block: 0, Offset: 3 * model.PageSize}][0] != 1 || got[enginekit.PageAt{Block: 0, Offset: 15 * model.PageSize}][0] != 6 {
		t.Errorf("QEMU got %d pages", len(got))
	}
}

// session is the receiver's end of the evacuation, with an intake as begin makes it.
func (s *site) session() *session {
	s.t.Helper()
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	session := s.r.sessions[sessionKey{"source", testEvacuation}]
	var err error
	if session.intake, err = pages.NewIntake(session.sink, session.unplaced); err != nil {
		s.t.Fatal(err)
	}
	return session
}

// writerAfter is a writer to w that goes on after the recording's header.
func writerAfter(t *testing.T, r *enginekit.Recording, w io.Writer) *stream.Writer {
	t.Helper()
	p := stream.NewParser(bytes.NewReader(r.Wire), stream.Options{})
	if _, err := system.ReadHead(p); err != nil {
		t.Fatal(err)
	}
	out := stream.NewWriter(w)
	if err := out.Follow(p); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestLinkTellsItsLoss: the source hears of a lost target once, and what it sends then fails at once.
func TestLinkTellsItsLoss(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	l := s.open()
	h := &losses{lost: make(chan error, 2)}
	l.Serve(3, h)
	s.stop()
	if err := <-h.lost; err == nil || !strings.Contains(err.Error(), "target") {
		t.Errorf("lost because of %v", err)
	}
	if err := l.Conn.Send(control.Ping{}); err == nil {
		t.Error("a question to a lost target was sent, and its asker waits")
	}
	l.Close()
	if len(h.lost) > 0 || h.host.Load() != 3 {
		t.Errorf("told %d times more, of host %d", len(h.lost), h.host.Load())
	}
}

// TestLinkClosedByUs is no loss.
func TestLinkClosedByUs(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	l := s.open()
	h := &losses{lost: make(chan error, 2)}
	l.Serve(0, h)
	l.Close()
	if len(h.lost) > 0 {
		t.Errorf("lost because of %v", <-h.lost)
	}
}

type losses struct {
	lost chan error
	host atomic.Int64
}

func (h *losses) FromTarget(int, control.Message) {}
func (h *losses) MulticastFrom(int, []byte)       {}
func (h *losses) LinkLost(host int, err error)    { h.host.Store(int64(host)); h.lost <- err }

// TestDialObeysItsContext: a target that accepts and says nothing does not hold up the source.
func TestDialObeysItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := wire.Dialer{Target: model.TargetAddr{Addr: l.Addr().(*net.TCPAddr).AddrPort()}, TLSDir: kit.NewAuthority(t).Host("source"), Evacuation: testEvacuation, Sent: new(atomic.Int64)}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := wire.Open(ctx, d); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// TestInvariant5NothingIsActedOnBeforeItIsAuthenticated: a stranger's perfectly well-formed messages leave no trace: no
// session, no guest, no record, no answer.
func TestInvariant5NothingIsActedOnBeforeItIsAuthenticated(t *testing.T) {
	s := openSite(t, nil, "target", func(c *Config) { c.AllowSources = []string{"source"} })
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
	if len(s.r.sessions)+len(s.r.guests)+len(s.r.names) > 0 || len(enginekit.ReadJournal(t, s.r.journal.Path)) > 0 || s.r.room.Used != 0 {
		t.Errorf("%d sessions, %d guests, %d bytes of room taken", len(s.r.sessions), len(s.r.guests), s.r.room.Used)
	}
}

// TestInvariant6TargetKeepsNoSecondCopy: however much a target places, it keeps no more than the block in hand.
func TestInvariant6TargetKeepsNoSecondCopy(t *testing.T) {
	const size = 8192 // pages: 32 MiB
	s := openSite(t, nil, "target", nil)
	s.open()
	ram := system.RAMBlock{Name: "pc.ram", Length: size * model.PageSize}
	g, _ := s.guest(0, "web", life.Starting)
	dst, mem := kit.OwnRAM(t, size)
	g.grip.take(func(h *grip) { h.ram = pages.NewRAM([]system.RAMBlock{ram}, mem, true) })
	g.set(life.Waiting)
	g.grip.ram.Open()
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
			before = kit.Heap()
		}
	}
	if grown := kit.Heap() - before; grown > 4<<20 {
		t.Errorf("%d MiB are kept of %d MiB that were placed", grown>>20, len(dst)>>20)
	}
	if !bytes.Equal(dst[model.PageSize*1000:][:model.PageSize], page) {
		t.Error("the pages were not placed")
	}
}
