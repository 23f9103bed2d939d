package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Type is the first byte of a control message.
type Type uint8

const (
	TypeKey      Type = iota + 1 // source: a key epoch begins
	TypeAnnounce                 // source: a channel, and the group to join for it
	TypeClose                    // source: the channel is over, leave its group
	TypeAnswer                   // target: a probe has arrived
	TypeRefusal                  // target: a channel cannot be served, or a key cannot be used
	TypeReport                   // target: what has arrived, what lacks, what is placed
	TypeKeyed                    // target: the key epoch is known
	TypeLeave                    // source: the channel goes on by unicast, leave its group
	TypeEvery                    // source: how often to report
)

// MaxText bounds the text of a Refusal, in bytes.
const MaxText = 512

// SaltSize is the size of the random part of a key epoch, in bytes.
const SaltSize = 32

// VersionError says that the peer speaks another version of the protocol.
type VersionError struct{ Ours, Theirs uint8 }

func (e *VersionError) Error() string {
	return fmt.Sprintf("multicast protocol version %d: this side speaks %d", e.Theirs, e.Ours)
}

// Key begins a key epoch: datagrams whose header has Epoch are sealed with a key made from the evacuation's key and
// Salt. It is the first message of a source to a target.
type Key struct {
	Epoch uint8
	Salt  [SaltSize]byte
}

// Append writes the message behind b.
func (m Key) Append(b []byte) []byte {
	return append(append(b, byte(TypeKey), Version, m.Epoch), m.Salt[:]...)
}

// ParseKey reads a Key message.
func ParseKey(b []byte) (m Key, err error) {
	if len(b) < 2 || Type(b[0]) != TypeKey {
		return m, fmt.Errorf("key message: %w", ErrFormat)
	}
	if b[1] != Version {
		return m, &VersionError{Ours: Version, Theirs: b[1]}
	}
	if len(b) != 3+SaltSize || b[2] >= Epochs {
		return m, fmt.Errorf("key message: %w", ErrFormat)
	}
	m.Epoch = b[2]
	copy(m.Salt[:], b[3:])
	return m, nil
}

// Announce tells a target of a channel. It is repeated with a higher Round when probes do not get through.
type Announce struct {
	Channel   uint16 // number on the wire
	ID        uint32 // the engine's number
	Round     uint8  // > 0: leave and join again
	AnySource bool   // join without naming the source: for switches that do not know IGMPv3 or MLDv2
	Start     uint64 // datagrams of the channel have sequences above this; older ones are of another channel
	Group     netip.AddrPort
}

const announceSize = 1 + 2 + 4 + 1 + 1 + 8 + 16 + 2

// Append writes the message behind b. A channel without a group is announced with a zero Group.
func (m Announce) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(append(b, byte(TypeAnnounce)), m.Channel)
	b = append(binary.BigEndian.AppendUint32(b, m.ID), m.Round, boolean(m.AnySource))
	b = binary.BigEndian.AppendUint64(b, m.Start)
	var group [16]byte
	if m.Group.IsValid() {
		group = m.Group.Addr().As16()
	}
	return binary.BigEndian.AppendUint16(append(b, group[:]...), m.Group.Port())
}

// ParseAnnounce reads an Announce message; its group, if any, is a multicast address.
func ParseAnnounce(b []byte) (m Announce, err error) {
	if len(b) != announceSize || Type(b[0]) != TypeAnnounce || b[8] > 1 {
		return m, fmt.Errorf("announce message: %w", ErrFormat)
	}
	m.Channel = binary.BigEndian.Uint16(b[1:])
	m.ID = binary.BigEndian.Uint32(b[3:])
	m.Round, m.AnySource = b[7], b[8] == 1
	m.Start = binary.BigEndian.Uint64(b[9:])
	addr := netip.AddrFrom16([16]byte(b[17:33])).Unmap()
	port := binary.BigEndian.Uint16(b[33:])
	if addr == netip.IPv6Unspecified() && port == 0 {
		return m, nil
	}
	if !addr.IsMulticast() || port == 0 {
		return m, fmt.Errorf("announce message: group %v: %w", addr, ErrFormat)
	}
	m.Group = netip.AddrPortFrom(addr, port)
	return m, nil
}

// Close ends a channel at the target.
type Close struct{ Channel uint16 }

// Append writes the message behind b.
func (m Close) Append(b []byte) []byte {
	return binary.BigEndian.AppendUint16(append(b, byte(TypeClose)), m.Channel)
}

// ParseClose reads a Close message.
func ParseClose(b []byte) (m Close, err error) {
	if len(b) != 3 || Type(b[0]) != TypeClose {
		return m, fmt.Errorf("close message: %w", ErrFormat)
	}
	return Close{Channel: binary.BigEndian.Uint16(b[1:])}, nil
}

// Leave makes a target leave the group of a channel that goes on by unicast.
type Leave struct{ Channel uint16 }

// Append writes the message behind b.
func (m Leave) Append(b []byte) []byte {
	return binary.BigEndian.AppendUint16(append(b, byte(TypeLeave)), m.Channel)
}

// ParseLeave reads a Leave message.
func ParseLeave(b []byte) (m Leave, err error) {
	if len(b) != 3 || Type(b[0]) != TypeLeave {
		return m, fmt.Errorf("leave message: %w", ErrFormat)
	}
	return Leave{Channel: binary.BigEndian.Uint16(b[1:])}, nil
}

// Answer says that a probe arrived.
type Answer struct {
	Channel uint16
	Unicast bool   // by which path
	Cookie  uint16 // of the probe: whoever has not got it cannot know it
	Window  uint32 // bytes of blocks that the target holds at most
}

// Append writes the message behind b.
func (m Answer) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(append(b, byte(TypeAnswer)), m.Channel)
	b = binary.BigEndian.AppendUint16(append(b, boolean(m.Unicast)), m.Cookie)
	return binary.BigEndian.AppendUint32(b, m.Window)
}

// ParseAnswer reads an Answer message.
func ParseAnswer(b []byte) (m Answer, err error) {
	if len(b) != 10 || Type(b[0]) != TypeAnswer || b[3] > 1 {
		return m, fmt.Errorf("answer message: %w", ErrFormat)
	}
	return Answer{Channel: binary.BigEndian.Uint16(b[1:]), Unicast: b[3] == 1, Cookie: binary.BigEndian.Uint16(b[4:]),
		Window: binary.BigEndian.Uint32(b[6:])}, nil
}

// Refusal says that the target cannot serve a channel.
type Refusal struct {
	Channel uint16
	Fatal   bool   // a block could not be placed: the target is lost. Otherwise the group could not be joined
	Text    string // for the operator
}

// Append writes the message behind b, its text cut at MaxText.
func (m Refusal) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(append(b, byte(TypeRefusal)), m.Channel)
	return append(append(b, boolean(m.Fatal)), m.Text[:min(len(m.Text), MaxText)]...)
}

// ParseRefusal reads a Refusal message.
func ParseRefusal(b []byte) (m Refusal, err error) {
	if len(b) < 4 || len(b) > 4+MaxText || Type(b[0]) != TypeRefusal || b[3] > 1 {
		return m, fmt.Errorf("refusal message: %w", ErrFormat)
	}
	return Refusal{Channel: binary.BigEndian.Uint16(b[1:]), Fatal: b[3] == 1, Text: string(b[4:])}, nil
}

// Keyed says that the target knows a key epoch.
type Keyed struct{ Epoch uint8 }

// Append writes the message behind b.
func (m Keyed) Append(b []byte) []byte { return append(b, byte(TypeKeyed), m.Epoch) }

// ParseKeyed reads a Keyed message.
func ParseKeyed(b []byte) (m Keyed, err error) {
	if len(b) != 2 || Type(b[0]) != TypeKeyed || b[1] >= Epochs {
		return m, fmt.Errorf("keyed message: %w", ErrFormat)
	}
	return Keyed{Epoch: b[1]}, nil
}

// Every tells a target how often to report while datagrams arrive.
type Every struct{ Milliseconds uint16 }

// FirstEvery is the time between reports before a source asks for another, in milliseconds.
const FirstEvery = 25

// MaxEvery is the longest time between reports that a source may ask for, in milliseconds.
const MaxEvery = 1000

// Append writes the message behind b.
func (m Every) Append(b []byte) []byte {
	return binary.BigEndian.AppendUint16(append(b, byte(TypeEvery)), m.Milliseconds)
}

// ParseEvery reads an Every message.
func ParseEvery(b []byte) (m Every, err error) {
	if len(b) == 3 && Type(b[0]) == TypeEvery {
		m.Milliseconds = binary.BigEndian.Uint16(b[1:])
	}
	if m.Milliseconds == 0 || m.Milliseconds > MaxEvery {
		return Every{}, fmt.Errorf("every message: %w", ErrFormat)
	}
	return m, nil
}

func boolean(v bool) byte {
	if v {
		return 1
	}
	return 0
}
