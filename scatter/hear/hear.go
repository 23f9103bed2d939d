// Package hear is the target's side of scatter check: it hears the probes that come.
package hear

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/scatter-vm/scatter/multicast/probe"
	"github.com/scatter-vm/scatter/multicast/udp"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// Begin begins to count the probes that come to an interface, at an address of it, and tells what this host has for
// receiving. The caller closes the listener.
func Begin(m control.Listen, name string, local netip.Addr, ports [2]uint16) (*probe.Listener, control.Listening, error) {
	var answer control.Listening
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, answer, err
	}
	conf := probe.Config{Options: udp.Options{Interface: name, Local: local, Ports: ports}, Source: m.Source, AnySource: m.AnySource,
		SourceSpecific: m.SourceSpecific, Port: m.Port, For: min(max(time.Duration(m.Seconds), 1), model.MaxListen/time.Second) * time.Second}
	if copy(conf.Key[:], m.Key); len(m.Key) != len(conf.Key) {
		return nil, answer, errors.New("key is malformed")
	}
	probes, err := probe.Listen(conf)
	if err != nil {
		return nil, answer, err
	}
	answer = control.Listening{Datagram: probes.Addr(), NotJoined: system.Text(probes.NotJoined), Blind: system.Text(probes.Blind),
		MTU: ifi.MTU, Buffer: probes.Buffer(), Merges: probes.Merges(), Memberships: -1}
	if n, err := system.ReadNumber(os.DirFS("/"), system.MembershipLimit); err == nil && local.Is4() {
		answer.Memberships = n
	}
	return probes, answer, nil
}

// Count is what has come since Begin.
func Count(probes *probe.Listener) (answer control.Counted) {
	for _, c := range probes.Counts() {
		answer.Probes = append(answer.Probes, control.Probed{Path: uint8(c.Path), Packet: c.Packet, Seen: c.Seen, Rounds: c.Rounds})
	}
	answer.Queries, answer.Querier = probes.Queries()
	return answer
}
