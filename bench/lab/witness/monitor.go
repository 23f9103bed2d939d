package witness

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"time"
)

// Monitor is a connection to a QEMU's monitor.
type Monitor struct {
	conn net.Conn
	in   *bufio.Reader
}

// monitorTimeout bounds each answer of a monitor. One that serves somebody else never answers, one whose QEMU hands over a guest may be
// busy with that for seconds.
const monitorTimeout = 30 * time.Second

// Dial connects to a monitor's socket.
func Dial(ctx context.Context, socket string) (*Monitor, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	m := &Monitor{conn: conn, in: bufio.NewReader(conn)}
	var greeting struct{ QMP json.RawMessage }
	if err := m.receive(ctx, &greeting); err != nil {
		conn.Close()
		return nil, fmt.Errorf("monitor %s: greeting: %w", socket, err)
	}
	if err := m.Do(ctx, "qmp_capabilities", nil, nil); err != nil {
		conn.Close()
		return nil, err
	}
	return m, nil
}

// receive reads one message.
func (m *Monitor) receive(ctx context.Context, to any) error {
	deadline := time.Now().Add(monitorTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := m.conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	line, err := m.in.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, to)
}

// Do runs a command and decodes its answer into out, if that is not nil.
func (m *Monitor) Do(ctx context.Context, command string, arguments, out any) error {
	request, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, arguments})
	if err != nil {
		return err
	}
	if _, err := m.conn.Write(append(request, '\n')); err != nil {
		return fmt.Errorf("monitor: %s: %w", command, err)
	}
	for {
		var answer struct {
			Return json.RawMessage
			Error  *struct{ Class, Desc string }
			Event  string
		}
		if err := m.receive(ctx, &answer); err != nil {
			return fmt.Errorf("monitor: %s: %w", command, err)
		}
		switch {
		case answer.Event != "":
			continue
		case answer.Error != nil:
			return fmt.Errorf("monitor: %s: %s: %s", command, answer.Error.Class, answer.Error.Desc)
		case out == nil:
			return nil
		}
		return json.Unmarshal(answer.Return, out)
	}
}

// Status returns QEMU's run state: running, paused, inmigrate, postmigrate, ...
func (m *Monitor) Status(ctx context.Context) (string, error) {
	var s struct{ Status string }
	err := m.Do(ctx, "query-status", nil, &s)
	return s.Status, err
}

// Human runs a command of the monitor for humans and returns what it prints.
func (m *Monitor) Human(ctx context.Context, line string) (string, error) {
	var out string
	err := m.Do(ctx, "human-monitor-command", map[string]string{"command-line": line}, &out)
	return strings.ReplaceAll(out, "\r", ""), err
}

// Close ends the connection.
func (m *Monitor) Close() error { return m.conn.Close() }
