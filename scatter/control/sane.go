package control

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a peer may say with words. Texts go to logs, terminals and reports as they are.
const (
	MaxName = 255      // bytes of a name
	MaxPath = 4096     // bytes of a path
	MaxText = 16 << 10 // bytes of a text; more is cut off
)

// sane is implemented by messages with words: it refuses names that cannot be any, and makes texts harmless.
type sane interface{ sane() error }

func (m *Hello) sane() error { return tidy(&m.Software) }

func (m *Welcome) sane() error {
	if err := tidy(&m.QEMU, &m.Error); err != nil || m.Error != "" {
		return names(err, m.Name)
	}
	if t := m.Traffic; t != nil && (t.Sent < 0 || t.Received < 0) {
		return fmt.Errorf("traffic of %d and %d bytes/s", t.Sent, t.Received)
	}
	return names(nil, append(m.VMs, m.Name)...)
}

func (m *Prepare) sane() error {
	all := []string{m.Name, m.Machine}
	for _, b := range m.Blocks {
		all = append(all, b.ID)
	}
	for _, l := range m.Limits {
		all = append(all, l.Device, l.Group)
	}
	return paths(names(nil, all...), m.Disks)
}

func (m *Examine) sane() error {
	all := []string{m.Name, m.Machine}
	for _, w := range m.CPU {
		all = append(all, w.Register)
	}
	return paths(names(nil, all...), m.Disks)
}

func (m *Examined) sane() error {
	return names(tidy(&m.Error, &m.Untried, &m.NoPostCopy), m.Off...)
}

func (m *Listening) sane() error { return tidy(&m.NotJoined, &m.Blind, &m.Error) }
func (m *TakeOver) sane() error {
	var all []string
	for _, b := range m.Blocks {
		all = append(all, b.ID)
	}
	return names(nil, all...)
}
func (m *Loaded) sane() error { return tidy(&m.Error) }
func (m *Run) sane() error    { return names(nil, m.State) }
func (m *Abort) sane() error  { return tidy(&m.Reason) }
func (m *State) sane() error  { return names(nil, string(m.State)) }
func (m *Failed) sane() error { return tidy(&m.Error) }

// names refuses what cannot be a name, unless there is an error already.
func names(err error, all ...string) error { return printable(err, MaxName, all) }

// paths refuses what cannot be the path of a new disk.
func paths(err error, disks []NewDisk) error {
	var all []string
	for _, d := range disks {
		all = append(all, d.Path)
		for _, b := range d.Backing {
			all, err = append(all, b.Path), names(err, b.Format)
		}
		if d.Qcow2 != nil {
			err = names(err, d.Qcow2.Compat, d.Qcow2.Compression)
		}
	}
	return printable(err, MaxPath, all)
}

func printable(err error, most int, all []string) error {
	for _, s := range all {
		if err != nil {
			return err
		}
		if bad := strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }); len(s) > most || bad || !utf8.ValidString(s) {
			err = fmt.Errorf("%.64q: not a name of at most %d bytes that can be printed", s, most)
		}
	}
	return err
}

// tidy makes texts harmless. It returns nil, for the methods that end with it.
func tidy(texts ...*string) error {
	for _, s := range texts {
		*s = Tidy(*s)
	}
	return nil
}

// Tidy is a text without anything but printable characters and blanks, and at most MaxText bytes long.
func Tidy(s string) string {
	if len(s) > MaxText {
		s = strings.ToValidUTF8(s[:MaxText-len("...")], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}
