//go:build lab

package faults

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/scatter/pki"
)

// terminated is closed when the process is told to end.
func terminated() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	return c
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// Whatever comes to its control port, from strangers or from a host of the same authority, a receiver goes on with the evacuation
// that it is busy with.
func TestBadInputOnControlPort(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	x := s.send("--rate", "200mbit")
	x.reachesStage("bulk")
	h := s.intruder()
	var attacks []*part
	for _, target := range s.Targets {
		attacks = append(attacks, s.play(h, fmt.Sprintf("attack %s %s %s", deploy.TLSDir(h), target.Name, address(target))))
	}
	o := x.finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	for _, a := range attacks {
		s.awaits("the end of an attack", func() error {
			if strings.Contains(a.stdout.String(), "done") {
				return nil
			}
			return errors.New(a.stdout.String() + a.stderr.String())
		})
		s.must(a.stop())
	}
	for _, r := range s.receivers {
		for _, what := range []string{"bad frame: length 0", "bad frame: length 4294967295", "instead of hello"} {
			s.says(r, what)
		}
	}
	s.spread(s.Targets...)
}

func init() { roles["attack"] = func(args []string) error { return attack(args[0], args[1], args[2]) } }

// frame is a frame of the control protocol with a length of our choice.
func frame(length uint32, kind byte, body string) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, length), kind), body...)
}

// hello opens a connection for a purpose; its type is 1.
func hello(purpose string) []byte {
	body := fmt.Sprintf(`{"version":1,"purpose":%q,"evacuation":"00112233445566ff","vm":0}`, purpose)
	return frame(uint32(len(body)+1), 1, body)
}

// attack sends a receiver what it cannot use, each in a connection of its own, and checks that the receiver ends each.
func attack(tlsDir, name, addr string) error {
	fmt.Println("ready")
	noise := make([]byte, 64<<10)
	rand.Read(noise)
	if err := strike(func() (net.Conn, error) { return net.Dial("tcp", addr) }, noise); err != nil {
		return fmt.Errorf("noise instead of TLS: %w", err)
	}
	conf, err := pki.LoadClient(tlsDir, name)
	if err != nil {
		return err
	}
	long := strings.Repeat("[", 1<<19)
	for what, message := range map[string][]byte{
		"noise":                   noise,
		"an empty frame":          frame(0, 1, ""),
		"the longest length":      frame(1<<32-1, 1, "{}"),
		"a frame cut short":       frame(1000, 1, "{"),
		"an unknown type":         frame(3, 250, "{}"),
		"no JSON":                 frame(uint32(len(long)+1), 1, long),
		"another message first":   frame(3, 4, "{}"),
		"another version":         frame(14, 1, `{"version":9}`),
		"no evacuation":           frame(40, 1, `{"version":1,"purpose":"control"}      `),
		"an unknown purpose":      hello("tea"),
		"a stream of no VM":       append(hello("stream"), noise...),
		"nothing known to run":    append(hello("recover"), frame(9, 4, `{"vm":99}`)...),
		"blocks before the begin": append(hello("control"), frame(9, 64, "datagram")...),
		"an absurd VM":            append(hello("control"), frame(19, 3, `{"vm":-1,"name":""}`)...),
		"noise after hello":       append(hello("control"), noise...),
	} {
		err := strike(func() (net.Conn, error) { return tls.Dial("tcp", addr, conf) }, message)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	fmt.Println("done")
	<-terminated()
	return nil
}

// strike sends a message, says no more, and waits for the end of the connection.
func strike(dial func() (net.Conn, error), message []byte) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(settleTime)); err != nil {
		return err
	}
	_, err = c.Write(message)
	if w, ok := c.(interface{ CloseWrite() error }); ok && err == nil {
		_ = w.CloseWrite() // the other side may have ended it already
	}
	_, err = io.Copy(new(bytes.Buffer), c)
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		return errors.New("the receiver keeps the connection")
	}
	return nil
}

// lies are what a target may answer to hello.
var lies = [][]byte{
	{},
	[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
	frame(1<<31, 32, "{}"),
	frame(1000, 32, "{"),
	frame(3, 64, "{}"),
	frame(5, 32, "null"),
	frame(28, 32, `{"version":1,"memory":-1}   `),
}

// lie serves each connection with the next lie.
func lie(tlsDir, addr string) error {
	conf, err := pki.LoadServer(tlsDir, nil)
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", addr, conf)
	if err != nil {
		return err
	}
	go func() {
		<-terminated()
		l.Close()
	}()
	fmt.Println("ready")
	for n := 0; ; n++ {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := c.Write(lies[n%len(lies)]); err != nil {
			return err
		}
		if _, err := c.Read(make([]byte, 1<<10)); err != nil { // the hello
			return err
		}
		if err := c.Close(); err != nil {
			return err
		}
	}
}
