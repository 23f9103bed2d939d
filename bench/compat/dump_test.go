//go:build lab

package compat

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// dumpIntoPipe has QEMU dump the guest's memory into a pipe that is full soon, so that the dump goes on until the VM ends.
func (v *vm) dumpIntoPipe(ctx context.Context) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	context.AfterFunc(ctx, func() { r.Close() }) // the row's end
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: strings.TrimSuffix(v.qmp, ".qmp") + ".fd", Net: "unix"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	if _, err := in.ReadBytes('\n'); err != nil {
		return err
	}
	for _, c := range []struct {
		line string
		fd   []byte
	}{
		{`{"execute":"qmp_capabilities"}`, nil},
		{`{"execute":"getfd","arguments":{"fdname":"pipe"}}`, unix.UnixRights(int(w.Fd()))},
		{`{"execute":"dump-guest-memory","arguments":{"paging":false,"protocol":"fd:pipe","detach":true}}`, nil},
	} {
		if _, _, err := conn.WriteMsgUnix([]byte(c.line+"\n"), c.fd, nil); err != nil {
			return err
		}
		if err := answer(in); err != nil {
			return fmt.Errorf("%s: %w", c.line, err)
		}
	}
	return nil
}

// answer reads the answer to a command, past events.
func answer(in *bufio.Reader) error {
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return err
		}
		var m struct {
			Event string
			Error *struct{ Desc string }
		}
		if err := json.Unmarshal(line, &m); err != nil {
			return err
		}
		if m.Error != nil {
			return fmt.Errorf("%s", m.Error.Desc)
		}
		if m.Event == "" {
			return nil
		}
	}
}
