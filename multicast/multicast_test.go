package multicast

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/scatter-vm/scatter/multicast/sender"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a Sender and Receivers in a lab, with control paths between them that are channels of messages.
type rig struct {
	*lab
	sender    *Sender
	receivers []*Receiver
	down, up  []chan []byte
	wg        sync.WaitGroup

	deliver func(target int, c ChannelID, b uint64, payload []byte) error // instead of keeping what comes

	mu        sync.Mutex
	delivered []map[string][]byte // per target: channel/block
	confirmed map[string]bool
	lost      map[string]error
}

func newRig(t testing.TB, l *lab, v6 bool, pacer *Pacer, edit ...func(*SenderConfig)) *rig {
	r := &rig{lab: l, confirmed: map[string]bool{}, lost: map[string]error{}}
	key, evacuation := [32]byte{1, 2, 3}, [8]byte{9}
	for i := 1; i < l.hosts; i++ {
		r.down, r.up = append(r.down, make(chan []byte, 1000)), append(r.up, make(chan []byte, 1000))
		r.delivered = append(r.delivered, map[string][]byte{})
	}
	local := func(i int) netip.Addr {
		if v6 {
			return netip.MustParseAddr(fmt.Sprintf("fd77::%d", i+1))
		}
		return l.addr(i)
	}
	cfg := SenderConfig{
		Interface: "eth", Local: local(0), Key: key, Evacuation: evacuation, Pacer: pacer, In: l.in(0),
		Control: func(target string, message []byte) error { r.down[index(target)] <- message; return nil },
		Confirmed: func(c ChannelID, b uint64) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.confirmed[fmt.Sprint(c, "/", b)] = true
		},
		Unreachable: func(target string, err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.lost[target] = err
		},
	}
	for _, e := range edit {
		e(&cfg)
	}
	var err error
	r.sender, err = NewSender(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.down {
		r.addReceiver(t, i, ReceiverConfig{
			Interface: "eth", Local: local(i + 1), Source: local(0), Key: key, Evacuation: evacuation, In: l.in(i + 1),
		})
	}
	t.Cleanup(r.close)
	return r
}

func index(target string) (i int) {
	fmt.Sscanf(target, "t%d", &i)
	return i
}

// addReceiver adds a target. Every other one takes its blocks where it reads.
func (r *rig) addReceiver(t testing.TB, i int, cfg ReceiverConfig) {
	cfg.Quick = i%2 == 1
	cfg.Control = func(message []byte) error { r.up[i] <- message; return nil }
	cfg.Deliver = func(c ChannelID, b uint64, payload []byte) error {
		if r.deliver != nil {
			return r.deliver(i, c, b, payload)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.delivered[i][fmt.Sprint(c, "/", b)] = bytes.Clone(payload)
		return nil
	}
	recv, err := NewReceiver(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.receivers = append(r.receivers, recv)
	name := fmt.Sprintf("t%d", i)
	r.wg.Go(func() {
		for m := range r.down[i] {
			if err := recv.HandleControl(m); err != nil {
				t.Error(err)
			}
		}
	})
	r.wg.Go(func() {
		for m := range r.up[i] {
			if err := r.sender.HandleControl(name, m); err != nil {
				t.Error(err)
			}
		}
	})
	if err := r.sender.AddTarget(name, recv.UnicastAddr()); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) close() {
	r.sender.Close()
	for i, recv := range r.receivers {
		recv.Close()
		close(r.down[i])
		close(r.up[i])
	}
	r.wg.Wait()
}

// send sends blocks of random bytes and waits until all are confirmed.
func (r *rig) send(t testing.TB, c Channel, blocks, size int) (payloads [][]byte) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.sender.Open(ctx, c); err != nil {
		t.Fatal(err)
	}
	chacha := rand.NewChaCha8([32]byte{byte(c.ID)})
	for range blocks {
		b := make([]byte, size)
		_, _ = chacha.Read(b)
		payloads = append(payloads, b)
		if _, err := r.sender.Send(ctx, c.ID, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.sender.Flush(ctx, c.ID); err != nil {
		t.Fatalf("flush: %v\n%s", err, r.describe())
	}
	return payloads
}

func (r *rig) describe() (s string) {
	s = fmt.Sprintf("%+v", r.sender.Stats())
	for i, recv := range r.receivers {
		s += fmt.Sprintf("\nt%d %+v", i, recv.Stats())
	}
	return s
}

func (r *rig) verify(t testing.TB, c ChannelID, payloads [][]byte, targets ...int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range targets {
		for n, want := range payloads {
			if !bytes.Equal(r.delivered[i][fmt.Sprint(c, "/", n)], want) {
				t.Fatalf("t%d: channel %d: block %d is not what was sent", i, c, n)
			}
		}
	}
}

// TestNetwork runs the real thing over real sockets: several channels, of which each target hears only its own, single
// targets by unicast, loss, a target whose multicast does not come through, and one that dies.
func TestNetwork(t *testing.T) {
	r := newRig(t, newLab(t, 4, ""), false, NewPacer(60<<20, 0))
	all := r.send(t, Channel{ID: 1, Group: group(1), Members: names(4)}, 20, 256<<10)
	r.verify(t, 1, all, 0, 1, 2, 3)

	some := r.send(t, Channel{ID: 2, Group: group(2), Members: []string{"t1", "t3"}}, 5, 100_000)
	r.verify(t, 2, some, 1, 3)
	if r.delivered[0]["2/0"] != nil {
		t.Error("t0 has got a block of a channel that is not its own")
	}

	one := r.send(t, Channel{ID: 3, Members: []string{"t2"}}, 5, 1<<20)
	r.verify(t, 3, one, 2)
	if st := r.sender.Stats(); st.Unicast < 5<<20 || st.Fallbacks != 0 || st.SendErrors != 0 {
		t.Errorf("stats %+v", st)
	}

	for i, recv := range r.receivers {
		coin := rand.New(rand.NewPCG(uint64(i), 1))
		recv.mu.Lock()
		recv.lossy = func() bool { return coin.IntN(20) == 0 }
		recv.mu.Unlock()
	}
	lossy := r.send(t, Channel{ID: 4, Group: group(4), Members: names(4)}, 20, 256<<10)
	r.verify(t, 4, lossy, 0, 1, 2, 3)
	if st := r.sender.Stats(); st.Repair == 0 {
		t.Error("nothing repaired")
	}
	for id := ChannelID(1); id <= 4; id++ {
		if err := r.sender.CloseChannel(id); err != nil {
			t.Error(err)
		}
	}
}

// TestTargetsTellTheirChangesOfGroups: channels that follow one another on one address are joined by new hosts only and left by
// those that no later one needs, and the source learns how often.
func TestTargetsTellTheirChangesOfGroups(t *testing.T) {
	r := newRig(t, newLab(t, 3, ""), false, NewPacer(60<<20, 0))
	lane := group(1)
	for i, members := range [][]string{{"t0", "t1"}, {"t1", "t2"}, {"t2"}, {"t0", "t2"}} {
		id := ChannelID(i)
		r.verify(t, id, r.send(t, Channel{ID: id, Group: lane, Members: members}, 1, 5000))
		if i > 0 {
			if err := r.sender.CloseChannel(id - 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := r.sender.CloseChannel(3); err != nil {
		t.Fatal(err)
	}
	want := map[string][2]uint64{"t0": {2, 2}, "t1": {1, 1}, "t2": {1, 1}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		st, told := r.sender.Stats(), map[string][2]uint64{}
		for name, of := range st.Targets {
			told[name] = [2]uint64{of.Joins, of.Leaves}
		}
		if st.Joins == 4 && st.Leaves == 4 && maps.Equal(told, want) {
			return
		}
		if st.Joins > 4 || st.Leaves > 4 || ctx.Err() != nil {
			t.Fatalf("told %v, want %v; %s", told, want, r.describe())
		}
		time.Sleep(time.Millisecond)
	}
}

func TestNetworkOverIPv6(t *testing.T) {
	r := newRig(t, newLab(t, 2, ""), true, NewPacer(60<<20, 0))
	group := netip.MustParseAddrPort("[ff15::77]:5000")
	r.verify(t, 1, r.send(t, Channel{ID: 1, Group: group, Members: names(2)}, 10, 256<<10), 0, 1)
	if st := r.sender.Stats(); st.Multicast < 10*256<<10 || st.Fallbacks != 0 {
		t.Errorf("stats %+v", st)
	}
}

// TestNetworkWithoutMulticast cuts a target's groups off at the bridge: it is served by unicast, and then dies.
func TestNetworkWithoutMulticast(t *testing.T) {
	l := newLab(t, 3, "")
	l.command("bridge", "-n", l.name("sw"), "link", "set", "dev", "p2", "mcast_flood", "off")
	l.ip("-n", l.name("sw"), "link", "set", "dev", "p2", "type", "bridge_slave", "mcast_router", "0")
	l.command("ip", "netns", "exec", l.name(2), "nft", "add table ip f; add chain ip f o { type filter hook output priority 0; }; add rule ip f o ip protocol igmp drop")
	timing := sender.DefaultTiming()
	timing.Probe, timing.Rejoin = 500*time.Millisecond, 100*time.Millisecond
	r := newRig(t, l, false, NewPacer(60<<20, 0), func(c *SenderConfig) { c.timing = &timing })
	r.verify(t, 1, r.send(t, Channel{ID: 1, Group: group(1), Members: names(3)}, 10, 256<<10), 0, 1, 2)
	if st := r.sender.Stats(); st.Fallbacks != 1 || st.Unicast < 10*256<<10 {
		t.Errorf("stats %+v", st)
	}
	r.sender.Eject("t1", errors.New("power"))
	if err := r.sender.CloseChannel(1); err != nil {
		t.Error(err)
	}
	r.verify(t, 2, r.send(t, Channel{ID: 2, Group: group(2), Members: []string{"t0", "t2"}}, 3, 1000), 0, 2)
}

// TestManyGroups joins more groups than one socket may.
func TestManyGroups(t *testing.T) {
	r := newRig(t, newLab(t, 1, ""), false, NewPacer(60<<20, 0))
	for id := range 45 {
		c := Channel{ID: ChannelID(id), Group: group(id), Members: names(1)}
		r.verify(t, c.ID, r.send(t, c, 1, 5000), 0)
	}
	if st := r.sender.Stats(); st.Fallbacks != 0 {
		t.Errorf("%d fell back to unicast", st.Fallbacks)
	}
}

// TestNetworkThatManglesBursts: one target's system drops what was cut out of bursts, or would have been: packets that come as one. All the same it
// gets its blocks by the group, and the others' bursts stay whole.
func TestNetworkThatManglesBursts(t *testing.T) {
	l := newLab(t, 3, "")
	l.command("ip", "netns", "exec", l.name(2), "nft", "add table ip f; add chain ip f i { type filter hook input priority 0; }; add rule ip f i meta length gt 1500 drop")
	r := newRig(t, l, false, NewPacer(60<<20, 0))
	if !r.sender.conn.Segments() {
		t.Fatal("this system cuts no bursts up")
	}
	r.verify(t, 1, r.send(t, Channel{ID: 1, Group: group(1), Members: names(3)}, 10, 256<<10), 0, 1, 2)
	r.verify(t, 2, r.send(t, Channel{ID: 2, Group: group(2), Members: []string{"t0", "t2"}}, 10, 256<<10), 0, 2)
	if st := r.sender.Stats(); st.Fallbacks != 0 || st.Repair > 100_000 {
		t.Errorf("stats %+v", st)
	}
	r.sender.mu.Lock()
	defer r.sender.mu.Unlock()
	for name, apart := range map[string]bool{"t0": false, "t1": true, "t2": false} {
		if reach, alone := r.sender.state.Bursts(name); alone != apart || reach == apart {
			t.Errorf("%s: gets datagrams one by one: %v, of bursts: %v", name, alone, reach)
		}
	}
}

func names(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("t%d", i))
	}
	return all
}

func group(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{232, 1, 1, byte(n)}), 5000)
}
