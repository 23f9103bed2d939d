package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

type object map[string]any

// monitor speaks QMP and ignores events.
type monitor struct {
	net.Conn
	in *json.Decoder
}

func dialMonitor(ctx context.Context, path string) (*monitor, error) {
	for ctx.Err() == nil {
		c, err := net.Dial("unix", path)
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		m := &monitor{c, json.NewDecoder(c)}
		var greeting object
		if err := m.in.Decode(&greeting); err != nil {
			return nil, err
		}
		return m, m.do("qmp_capabilities", nil, nil)
	}
	return nil, ctx.Err()
}

// do runs a command and decodes what it returns into out.
func (m *monitor) do(command string, arguments object, out any) error {
	request := object{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(m).Encode(request); err != nil {
		return err
	}
	for {
		var reply struct {
			Event  string
			Return json.RawMessage
			Error  *struct{ Class, Desc string }
		}
		if err := m.in.Decode(&reply); err != nil {
			return err
		}
		if reply.Event != "" {
			continue
		}
		if reply.Error != nil {
			return fmt.Errorf("%s: %s", command, reply.Error.Desc)
		}
		if out == nil {
			return nil
		}
		return json.Unmarshal(reply.Return, out)
	}
}
