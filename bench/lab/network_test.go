//go:build lab

package lab_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// The test program also is what runs in the hosts: a role in the environment says what.
const roleVariable = "SCATTER_LAB_ROLE"

func TestMain(m *testing.M) {
	role := strings.Fields(os.Getenv(roleVariable))
	if len(role) == 0 {
		os.Exit(m.Run())
	}
	var err error
	switch role[0] {
	case "receive":
		err = receive(netip.MustParseAddrPort(role[1]))
	case "send":
		err = send(netip.MustParseAddrPort(role[1]), role[2] == "merged")
	case "abandon":
		err = abandon()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Datagrams of the tests hold their number and are sent in batches.
const (
	datagrams     = 8800
	datagramBytes = 200
	batch         = 44
	lastDatagram  = 1 << 40
)

// send sends numbered datagrams, and at the end some that say so. Merged ones reach the network as one packet per batch.
func send(to netip.AddrPort, merged bool) error {
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	if merged {
		raw, err := conn.SyscallConn()
		if err != nil {
			return err
		}
		if err := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, datagramBytes)
		}); err != nil {
			return err
		}
	}
	if err := ipv4.NewConn(conn).SetTTL(1); err != nil {
		return err
	}
	b := make([]byte, batch*datagramBytes)
	for n := 0; n < datagrams; n += batch {
		for i := range batch {
			binary.BigEndian.PutUint64(b[i*datagramBytes:], uint64(n+i))
		}
		if err := write(conn, to, b, merged); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	for range 100 {
		if _, err := conn.WriteToUDPAddrPort(binary.BigEndian.AppendUint64(nil, lastDatagram), to); err != nil {
			return err
		}
	}
	return nil
}

func write(conn *net.UDPConn, to netip.AddrPort, b []byte, merged bool) error {
	step := datagramBytes
	if merged {
		step = len(b)
	}
	for ; len(b) > 0; b = b[step:] {
		if _, err := conn.WriteToUDPAddrPort(b[:step], to); err != nil {
			return err
		}
	}
	return nil
}

// receive counts datagrams and the gaps in their numbers, until the last or until none comes for two seconds.
func receive(at netip.AddrPort) error {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	defer conn.Close()
	if at.Addr().IsMulticast() {
		device, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		if err := ipv4.NewPacketConn(conn).JoinGroup(device, &net.UDPAddr{IP: at.Addr().AsSlice()}); err != nil {
			return err
		}
	}
	if err := conn.SetReadBuffer(4 << 20); err != nil {
		return err
	}
	fmt.Println("ready")
	count, gaps, next := 0, 0, uint64(0)
	b := make([]byte, 2048)
	for {
		conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := conn.Read(b)
		if err != nil || n < 8 {
			break
		}
		number := binary.BigEndian.Uint64(b)
		if number != next && number != lastDatagram {
			gaps++
		}
		if number == lastDatagram {
			break
		}
		next = number + 1
		count++
	}
	fmt.Println(count, gaps)
	return nil
}

// listener is a receive role that runs in a host.
type listener struct {
	t   *testing.T
	cmd *exec.Cmd
	out *bufio.Scanner
}

func listen(t *testing.T, h *lan.Host, at string) *listener {
	t.Helper()
	cmd := inHost(t, h, "receive "+at)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l := &listener{t, cmd, bufio.NewScanner(out)}
	if !l.out.Scan() || l.out.Text() != "ready" {
		t.Fatalf("receiver on %s: %q", h.Name, l.out.Text())
	}
	return l
}

// result returns how many datagrams arrived, with how many gaps.
func (l *listener) result() (count, gaps int) {
	l.t.Helper()
	l.out.Scan()
	if _, err := fmt.Sscan(l.out.Text(), &count, &gaps); err != nil {
		l.t.Fatalf("receiver: %q: %v", l.out.Text(), err)
	}
	if err := l.cmd.Wait(); err != nil {
		l.t.Fatal(err)
	}
	return count, gaps
}

func inHost(t *testing.T, h *lan.Host, role string) *exec.Cmd {
	cmd := h.Command(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

func sendFrom(t *testing.T, h *lan.Host, to, how string) {
	t.Helper()
	// A host joins a group within some milliseconds; a bridge takes a second to stop flooding.
	time.Sleep(300 * time.Millisecond)
	if err := inHost(t, h, "send "+to+" "+how).Run(); err != nil {
		t.Fatal(err)
	}
}

const group = "239.77.1.1:5000"

func TestLabSnooping(t *testing.T) {
	l := newLab(t, 2, 500e6)
	time.Sleep(time.Second) // the bridge's querier settles
	joined := listen(t, l.Targets[0], group)
	before, err := l.Targets[1].Traffic(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sendFrom(t, l.Source, group, "single")
	if count, _ := joined.result(); count != datagrams {
		t.Errorf("%d of %d datagrams reached the port that joined", count, datagrams)
	}
	after, err := l.Targets[1].Traffic(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := after.Sub(before).ReceivedBytes; n > 5000 {
		t.Errorf("%d bytes reached the port that did not join", n)
	}
}

func TestLabLoss(t *testing.T) {
	l := newLab(t, 2, 500e6)
	if err := l.Targets[0].SetLoss(t.Context(), lan.Loss{Fraction: 0.05, UDPOnly: true}); err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"single", "merged"} {
		lossy, clean := listen(t, l.Targets[0], group), listen(t, l.Targets[1], group)
		before, err := l.Source.Traffic(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sendFrom(t, l.Source, group, how)
		after, err := l.Source.Traffic(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if count, _ := clean.result(); count != datagrams {
			t.Errorf("%s: %d of %d datagrams arrived without loss", how, count, datagrams)
		}
		count, gaps := lossy.result()
		if lost := float64(datagrams-count) / datagrams; lost < 0.035 || lost > 0.065 {
			t.Errorf("%s: %.3f of the datagrams were lost instead of 0.05", how, lost)
		}
		if lost := datagrams - count; gaps < lost/2 {
			t.Errorf("%s: %d datagrams were lost in only %d places", how, lost, gaps)
		}
		// However the kernel passes them on, datagrams count with a header of 42 bytes each.
		want := int64(datagrams * (datagramBytes + 42))
		if n := after.Sub(before).SentBytes; n < want || n > want+want/50 {
			t.Errorf("%s: the source's port counted %d bytes for %d", how, n, want)
		}
	}
}

// TestLabWorkApart: the switch passes on everything, with a thread of its own and without.
func TestLabWorkApart(t *testing.T) {
	l := newLab(t, 1, 0)
	for _, apart := range []bool{true, false} {
		if err := l.Source.WorkApart(t.Context(), apart); err != nil {
			t.Fatal(err)
		}
		if n := kernelThreads(t, "napi/p0"); (n > 0) != apart {
			t.Errorf("apart %t: %d threads", apart, n)
		}
		for _, how := range []string{"single", "merged"} {
			r := listen(t, l.Targets[0], group)
			sendFrom(t, l.Source, group, how)
			if count, _ := r.result(); count != datagrams {
				t.Errorf("apart %t, %s: %d of %d datagrams arrived", apart, how, count, datagrams)
			}
		}
	}
}

// kernelThreads counts those whose names begin with a prefix.
func kernelThreads(t *testing.T, prefix string) (n int) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if comm, _ := os.ReadFile(name); strings.HasPrefix(string(comm), prefix) {
			n++
		}
	}
	return n
}

// lose sends to a host that loses some of it, and returns how many datagrams were lost, and in how many places.
func lose(t *testing.T, loss lan.Loss) (lost, gaps int) {
	t.Helper()
	l := newLab(t, 1, 500e6)
	if err := l.Targets[0].SetLoss(t.Context(), loss); err != nil {
		t.Fatal(err)
	}
	r := listen(t, l.Targets[0], group)
	sendFrom(t, l.Source, group, "merged")
	count, gaps := r.result()
	return datagrams - count, gaps
}

// Bursts take as many datagrams in all, but in few places.
func TestLabLossInBursts(t *testing.T) {
	lost, gaps := lose(t, lan.Loss{Fraction: 0.05, Burst: 20})
	if lost < 400 || lost > 480 || gaps < lost/20 || gaps > lost/20+1 {
		t.Errorf("%d datagrams were lost in %d places, not 440 in 22", lost, gaps)
	}
}

// TestLabLossOfMergedPackets: what the device has merged is lost as one.
func TestLabLossOfMergedPackets(t *testing.T) {
	lost, gaps := lose(t, lan.Loss{Fraction: 0.2, Merged: true})
	if lost < datagrams/20 || lost > datagrams/2 || gaps > lost/10 {
		t.Errorf("%d datagrams were lost in %d places, not a fifth of %d in tens", lost, gaps, datagrams)
	}
}

// TestLabBadState: a link that is bad at times loses as much as one that loses a few packets always, but all at these times.
func TestLabBadState(t *testing.T) {
	lost, gaps := lose(t, lan.Loss{Fraction: 0.1, Bad: 20})
	if lost < datagrams/25 || lost > datagrams/5 || gaps > 2*lost/3 {
		t.Errorf("%d of %d datagrams were lost in %d places", lost, datagrams, gaps)
	}
}

func TestLabWatch(t *testing.T) {
	l := newLab(t, 1, 500e6)
	w, err := l.Source.Watch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	before := time.Now()
	var sending sync.WaitGroup
	sending.Go(func() { sendFrom(t, l.Source, netip.AddrPortFrom(l.Targets[0].Addr, 5000).String(), "merged") })
	began, err := w.Flow(t.Context(), 1e6)
	sending.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if now := time.Now(); began.Before(before) || began.After(now) {
		t.Errorf("flow seen to begin at %v, not within %v and %v", began, before, now)
	}
}

func TestLabCut(t *testing.T) {
	l := newLab(t, 1, 500e6)
	target := l.Targets[0]
	to := netip.AddrPortFrom(target.Addr, 5000).String()
	for _, step := range []struct {
		name   string
		change func() error
		to     string
		want   bool
	}{
		{"as made", func() error { return nil }, to, true},
		{"silent", func() error { return target.Silence(t.Context(), true) }, to, false},
		{"audible", func() error { return target.Silence(t.Context(), false) }, to, true},
		{"black hole", func() error { return target.BlackholeMulticast(t.Context(), true) }, group, false},
		{"unicast past the black hole", func() error { return nil }, to, true},
		{"no black hole", func() error { return target.BlackholeMulticast(t.Context(), false) }, group, true},
		{"cut", func() error { return target.Cut(t.Context()) }, to, false},
		{"restored", func() error { return target.Restore(t.Context()) }, to, true},
	} {
		if err := step.change(); err != nil {
			t.Fatal(step.name, err)
		}
		r := listen(t, target, step.to)
		sendFrom(t, l.Source, step.to, "single")
		if count, _ := r.result(); (count > datagrams/2) != step.want {
			t.Errorf("%s: %d of %d datagrams arrived", step.name, count, datagrams)
		}
	}
}

// abandon makes a lab and waits to be killed.
func abandon() error {
	l, err := lab.New(context.Background(), lab.Config{Targets: 1})
	if err != nil {
		return err
	}
	if err := l.Targets[0].Command(context.Background(), "sleep", "1000").Start(); err != nil {
		return err
	}
	fmt.Println(l.Dir)
	select {}
}

// A lab whose process is killed leaves nothing behind once the next one is made.
func TestLabSweep(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=abandon")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(out)
	scanner.Scan()
	dir := scanner.Text()
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := os.Stat(dir); err != nil {
		t.Fatal("the killed process left no lab:", err)
	}
	if err := lan.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Error("its directory is still there:", err)
	}
	list, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	if pid := strconv.Itoa(cmd.Process.Pid); strings.Contains(string(list), "scatterlab-"+pid+"-") {
		t.Errorf("its namespaces are still there: %s", list)
	}
}
