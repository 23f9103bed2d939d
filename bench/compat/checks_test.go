//go:build lab

package compat

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/scatter-vm/scatter/bench/lab/witness"
)

// checks are what single rows look at beside what all are compared in; each is named after what is wrong.
var checks = map[string]func(ctx context.Context, t *trial, on *host, m *witness.Monitor) error{
	"cannot be woken":         wakes,
	"e1000 link is not down":  func(ctx context.Context, _ *trial, _ *host, m *witness.Monitor) error { return linkIs(ctx, m, false) },
	"e1000 link is not up":    func(ctx context.Context, _ *trial, _ *host, m *witness.Monitor) error { return linkIs(ctx, m, true) },
	"balloon has another aim": balloonAim,
	"VNC is open":             vncIsClosed,
}

func wakes(ctx context.Context, _ *trial, _ *host, m *witness.Monitor) error {
	if err := m.Do(ctx, "system_wakeup", nil, nil); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return m.AwaitStatus(ctx, "running")
}

// region finds where the guest sees the first region of a PCI device.
func region(ctx context.Context, m *witness.Monitor, vendor, device int) (uint64, error) {
	var buses []struct {
		Devices []struct {
			ID      struct{ Device, Vendor int } `json:"id"`
			Regions []struct {
				BAR     int
				Address int64
			}
		}
	}
	if err := m.Do(ctx, "query-pci", nil, &buses); err != nil {
		return 0, err
	}
	for _, b := range buses {
		for _, d := range b.Devices {
			if d.ID.Vendor != vendor || d.ID.Device != device {
				continue
			}
			for _, r := range d.Regions {
				if r.BAR == 0 && r.Address > 0 {
					return uint64(r.Address), nil
				}
			}
		}
	}
	return 0, errors.New("the guest has not given the device its place")
}

// linkIs reads the link state out of the card's status register.
func linkIs(ctx context.Context, m *witness.Monitor, up bool) error {
	return await(ctx, "the link's state", func() error {
		base, err := region(ctx, m, 0x8086, 0x100e)
		if err != nil {
			return err
		}
		out, err := m.Human(ctx, fmt.Sprintf("xp /1wx 0x%x", base+8))
		if err != nil {
			return err
		}
		_, word, _ := strings.Cut(out, ": ")
		var status uint64
		if _, err := fmt.Sscanf(strings.TrimSpace(word), "0x%x", &status); err != nil {
			return fmt.Errorf("status register: %q", out)
		}
		if (status&2 != 0) != up {
			return fmt.Errorf("status register of the card: %#x", status)
		}
		return nil
	})
}

// balloonAim reads how many pages the balloon is to have.
func balloonAim(ctx context.Context, _ *trial, _ *host, m *witness.Monitor) error {
	return await(ctx, "the balloon's aim", func() error {
		base, err := region(ctx, m, 0x1af4, 0x1002)
		if err != nil {
			return err
		}
		out, err := m.Human(ctx, fmt.Sprintf("i /w 0x%x", base+20))
		if err != nil {
			return err
		}
		if !strings.Contains(out, "= 0x00001000") { // 16 MiB
			return fmt.Errorf("pages: %s", out)
		}
		return nil
	})
}

// vncIsClosed speaks to the display up to the choice of authentication.
func vncIsClosed(ctx context.Context, _ *trial, on *host, _ *witness.Monitor) error {
	c, err := new(net.Dialer).DialContext(ctx, "unix", filepath.Join(on.dir, "vnc"))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	version := make([]byte, 12)
	if _, err := io.ReadFull(c, version); err != nil {
		return err
	}
	if _, err := c.Write(version); err != nil {
		return err
	}
	var kinds [2]byte // how many, and the first
	if err := binary.Read(c, binary.BigEndian, &kinds); err != nil {
		return err
	}
	if kinds != [2]byte{1, 2} { // only that with a password
		return fmt.Errorf("kinds of authentication: %v", kinds)
	}
	return nil
}
