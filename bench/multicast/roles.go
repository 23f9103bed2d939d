package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"crypto/rand"
	"crypto/tls"
	"encoding/binary"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/pki"
)

// roles is what this program does in the hosts of the lab, by its first argument.
var roles map[string]func(ctx context.Context, args []string) error

func init() {
	roles = map[string]func(context.Context, []string) error{
		"send": sendRole, "receive": receiveRole, "tcp-send": tcpSendRole, "tcp-receive": tcpReceiveRole, "busy": busyRole,
	}
}

const (
	// window is that of scatter's engine.
	window       = 24 << 20
	writeTimeout = 10 * time.Second
	linkName     = "eth0"
)

var group = netip.MustParseAddrPort("239.77.0.1:7401")

// payload maps the first size bytes of a file.
func payload(path string, size int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_POPULATE)
}

// sender is the source's end of scatter's multicast.
type sender struct {
	*multicast.Sender
	config multicast.SenderConfig
	conns  map[string]*control.Conn
	wg     sync.WaitGroup
	data   []byte
	told   sync.WaitGroup // of each block that all members have placed it
	rests  errgroup.Group // send what slow targets lack
	extra  atomic.Uint32  // channels for that
}

// sendRole sends a file to targets, given as NAME=ADDRESS.
func sendRole(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("send", flag.ExitOnError)
	dir := fs.String("tls", "", "directory of the certificate")
	rate := fs.Int64("rate", 0, "bytes per second; 0 = to be found")
	size := fs.Int64("size", 0, "bytes of the file")
	fs.Parse(args)
	data, err := payload(fs.Arg(0), *size)
	if err != nil {
		return err
	}
	s := &sender{conns: map[string]*control.Conn{}, data: data}
	s.config = multicast.SenderConfig{Interface: linkName, Evacuation: [8]byte{1}, Window: window, Pacer: multicast.NewPacer(*rate, 0),
		Control: func(target string, m []byte) error { return s.conns[target].Send(control.Multicast{Body: m}) },
		Confirmed: func(ch multicast.ChannelID, _ uint64) {
			if ch == common {
				s.told.Done()
			}
		},
		Left: func(_ multicast.ChannelID, target string, lacks []uint64, next uint64) {
			s.rests.Go(func() error { return s.catchUp(ctx, target, lacks, next) })
		}}
	rand.Read(s.config.Key[:])
	if err := s.open(ctx, *dir, fs.Args()[1:]); err != nil {
		return err
	}
	err = errors.Join(s.transfer(ctx), s.rests.Wait())
	stats, _ := json.Marshal(s.Stats())
	fmt.Println(string(stats))
	return errors.Join(err, s.close())
}

// open connects to the targets and hands them the key.
func (s *sender) open(ctx context.Context, dir string, targets []string) (err error) {
	if s.Sender, err = multicast.NewSender(s.config); err != nil {
		return err
	}
	for _, t := range targets {
		name, addr, _ := strings.Cut(t, "=")
		if err := s.connect(ctx, dir, name, netip.AddrPortFrom(netip.MustParseAddr(addr), port)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (s *sender) connect(ctx context.Context, dir, name string, addr netip.AddrPort) error {
	conf, err := pki.LoadClient(dir, name)
	if err != nil {
		return err
	}
	conn, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return err
	}
	c := control.NewConn(conn, name, writeTimeout)
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return err
	}
	if err := c.Send(control.Begin{Key: s.config.Key[:], Source: local.Addr().Unmap(), Window: window}); err != nil {
		return err
	}
	m, err := c.Receive()
	if err != nil {
		return err
	}
	begun, ok := m.(control.Begun)
	if !ok {
		return fmt.Errorf("unexpected %s", m.Type())
	}
	s.conns[name] = c
	s.wg.Go(func() { s.listen(name, c) })
	return s.AddTarget(name, begun.Datagram)
}

// listen passes on what a target says.
func (s *sender) listen(name string, c *control.Conn) {
	for {
		m, err := c.Receive()
		if err != nil {
			s.Eject(name, err)
			return
		}
		if body, ok := m.(control.Multicast); ok {
			err = s.HandleControl(name, body.Body)
		}
		if err != nil {
			s.Eject(name, err)
		}
	}
}

// common is the channel to all targets.
const common = multicast.ChannelID(1)

// transfer sends the data in blocks.
func (s *sender) transfer(ctx context.Context) error {
	c, data := multicast.Channel{ID: common, Group: group}, s.data
	for name := range s.conns {
		c.Members = append(c.Members, name)
	}
	if err := s.Open(ctx, c); err != nil {
		return err
	}
	for len(data) > 0 {
		n := min(len(data), blockBytes)
		s.told.Add(1)
		if _, err := s.Send(ctx, c.ID, data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	if err := s.Flush(ctx, c.ID); err != nil {
		return err
	}
	s.told.Wait() // what is told of those who have left comes before
	return s.CloseChannel(c.ID)
}

// catchUp sends a slow target the blocks that it lacks, and all from next on, by a channel of its own. Each has its number in front.
func (s *sender) catchUp(ctx context.Context, target string, lacks []uint64, next uint64) error {
	c := multicast.Channel{ID: common + multicast.ChannelID(s.extra.Add(1)), Members: []string{target}, Background: true}
	if err := s.Open(ctx, c); err != nil {
		return err
	}
	for n := next; int(n)*blockBytes < len(s.data); n++ {
		lacks = append(lacks, n)
	}
	for _, n := range lacks {
		start := int(n) * blockBytes
		block := binary.BigEndian.AppendUint64(make([]byte, 0, 8+blockBytes), n)
		block = append(block, s.data[start:min(start+blockBytes, len(s.data))]...)
		if _, err := s.Send(ctx, c.ID, block); err != nil {
			return err
		}
	}
	return errors.Join(s.Flush(ctx, c.ID), s.CloseChannel(c.ID))
}

func (s *sender) close() error {
	var errs []error
	for _, c := range s.conns {
		errs = append(errs, c.Send(control.End{}), c.Close())
	}
	errs = append(errs, s.Sender.Close())
	s.wg.Wait()
	return errors.Join(errs...)
}

// receiveRole takes a file from one source.
func receiveRole(_ context.Context, args []string) error {
	fs := flag.NewFlagSet("receive", flag.ExitOnError)
	dir := fs.String("tls", "", "directory of the certificate")
	size := fs.Int64("size", 0, "bytes of the file")
	fs.Parse(args)
	conf, err := pki.LoadServer(*dir, nil)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(fs.Arg(0), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	conn, err := accept(func(l net.Listener) net.Listener { return tls.NewListener(l, conf) })
	if err != nil {
		return err
	}
	return receive(control.NewConn(conn, "source", writeTimeout), f, *size)
}

// accept says that it is ready, and gives the first connection.
func accept(wrap func(net.Listener) net.Listener) (net.Conn, error) {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, err
	}
	defer l.Close()
	l = wrap(l)
	fmt.Println("ready")
	return l.Accept()
}

// receive serves the source until it ends.
func receive(c *control.Conn, f *os.File, size int64) error {
	defer c.Close()
	m, err := c.Receive()
	if err != nil {
		return err
	}
	begin, ok := m.(control.Begin)
	if !ok || len(begin.Key) != 32 {
		return fmt.Errorf("unexpected %s", m.Type())
	}
	arrived := newArrived(f, size)
	r, err := multicast.NewReceiver(multicast.ReceiverConfig{
		Interface: linkName, Source: begin.Source, Key: [32]byte(begin.Key), Evacuation: [8]byte{1}, Window: begin.Window,
		Control: func(m []byte) error { return c.Send(control.Multicast{Body: m}) },
		Quick:   true,
		Deliver: arrived.block,
	})
	if err != nil {
		return err
	}
	defer r.Close()
	if err := c.Send(control.Begun{Datagram: r.UnicastAddr()}); err != nil {
		return err
	}
	for {
		m, err := c.Receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case control.Multicast:
			err = r.HandleControl(m.Body)
		case control.End:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// arrived puts blocks in their places, one at a time.
type arrived struct {
	file  *os.File
	lacks int
	have  []bool // by block
}

func newArrived(f *os.File, size int64) *arrived {
	blocks := int((size + blockBytes - 1) / blockBytes)
	return &arrived{file: f, lacks: blocks, have: make([]bool, blocks)}
}

func (a *arrived) block(ch multicast.ChannelID, n uint64, b []byte) error {
	if ch != common {
		if len(b) < 8 {
			return errors.New("block without its number")
		}
		n, b = binary.BigEndian.Uint64(b), b[8:]
	}
	if n >= uint64(len(a.have)) {
		return fmt.Errorf("block %d of %d", n, len(a.have))
	}
	if _, err := a.file.WriteAt(b, int64(n)*blockBytes); err != nil || a.have[n] {
		return err
	}
	a.have[n] = true
	if a.lacks--; a.lacks == 0 {
		fmt.Println("complete")
	}
	return nil
}

// tcpSendRole sends a file to each target by a connection of its own, all at once.
func tcpSendRole(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("tcp-send", flag.ExitOnError)
	size := fs.Int64("size", 0, "bytes of the file")
	fs.Parse(args)
	g, ctx := errgroup.WithContext(ctx)
	for _, addr := range fs.Args()[1:] {
		g.Go(func() error { return tcpSend(ctx, fs.Arg(0), *size, fmt.Sprintf("%s:%d", addr, port)) })
	}
	return g.Wait()
}

func tcpSend(ctx context.Context, path string, size int64, addr string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	_, err = io.Copy(c, io.LimitReader(f, size))
	return errors.Join(err, c.Close())
}

// tcpReceiveRole takes a file from one connection.
func tcpReceiveRole(_ context.Context, args []string) error {
	fs := flag.NewFlagSet("tcp-receive", flag.ExitOnError)
	size := fs.Int64("size", 0, "bytes of the file")
	fs.Parse(args)
	f, err := os.OpenFile(fs.Arg(0), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	c, err := accept(func(l net.Listener) net.Listener { return l })
	if err != nil {
		return err
	}
	n, err := io.Copy(f, c)
	if err == nil && n != *size {
		err = fmt.Errorf("%d bytes of %d", n, *size)
	}
	if err == nil {
		fmt.Println("complete")
	}
	return errors.Join(err, c.Close(), f.Close())
}
