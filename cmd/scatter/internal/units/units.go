// Package units reads and writes amounts of memory, rates and times as people do.
package units

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// quantity is a plain decimal number with a unit. Hexadecimal, exponents and signs are no quantities.
var quantity = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([A-Za-z/]*)$`)

// sizeUnits are units of memory. As with QEMU, a bare letter means a power of 1024.
var sizeUnits = map[string]float64{
	"": 1, "B": 1,
	"K": 1 << 10, "KiB": 1 << 10, "kB": 1e3, "KB": 1e3,
	"M": 1 << 20, "MiB": 1 << 20, "MB": 1e6,
	"G": 1 << 30, "GiB": 1 << 30, "GB": 1e9,
	"T": 1 << 40, "TiB": 1 << 40, "TB": 1e12,
}

// rateUnits are units of speed, in bytes per second. Those in bits are known in any case.
var rateUnits = map[string]float64{
	"kB": 1e3, "KB": 1e3, "KiB": 1 << 10,
	"MB": 1e6, "MiB": 1 << 20,
	"GB": 1e9, "GiB": 1 << 30,
}

var bitUnits = map[string]float64{
	"kbit": 1e3 / 8, "mbit": 1e6 / 8, "gbit": 1e9 / 8,
}

// minRate is the lowest rate that makes sense, in bytes per second: less than a datagram now and then.
const minRate = 1000

// parseSize reads an amount of memory in bytes: 4GiB, 512M, 1.5G, 4294967296.
func parseSize(s string) (int64, error) {
	m := quantity.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("size %q: want a number with a unit, as in 4GiB or 512M", s)
	}
	unit, ok := sizeUnits[m[2]]
	if !ok {
		return 0, fmt.Errorf("size %q: unknown unit %q; use K, M, G or T (powers of 1024) or kB, MB, GB or TB (of 1000)", s, m[2])
	}
	n, err := product(m[1], unit)
	if err != nil {
		return 0, fmt.Errorf("size %q: %w", s, err)
	}
	if n == 0 {
		return 0, fmt.Errorf("size %q: must be > 0", s)
	}
	return n, nil
}

// ParseRate reads a rate and returns it in bytes per second: 500mbit, 1gbit, 60MB, 60MB/s. It refuses units that may mean bits or bytes, and
// less than 1000 bytes per second.
func ParseRate(s string) (int64, error) {
	m := quantity.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("rate %q: want a number with a unit, as in 500mbit or 60MB", s)
	}
	if v, err := strconv.ParseFloat(m[1], 64); err == nil && v == 0 {
		return 0, errors.New("rate 0: nothing could move; leave the flag out to use what the link gives")
	}
	name := strings.TrimSuffix(m[2], "/s")
	unit, ok := rateUnits[name]
	if !ok {
		unit, ok = bitUnits[strings.ToLower(name)]
	}
	if !ok {
		return 0, fmt.Errorf("rate %q: unit %q may mean bits or bytes; use kbit, mbit or gbit, or kB, MB or GB", s, m[2])
	}
	n, err := product(m[1], unit)
	if err == nil && n < minRate {
		err = fmt.Errorf("less than %d bytes/s", minRate)
	}
	if err != nil {
		return 0, fmt.Errorf("rate %q: %w", s, err)
	}
	return n, nil
}

func product(number string, unit float64) (int64, error) {
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || v*unit >= math.MaxInt64 {
		return 0, errors.New("too large")
	}
	return int64(v * unit), nil
}

// Size is an amount of memory in bytes, as a flag; zero means not given.
type Size int64

// Type names the kind of value in help texts.
func (f *Size) Type() string { return "size" }

// String is the amount for people, "" where none was given.
func (f *Size) String() string { return flagText(int64(*f), FormatSize) }

// Set reads an amount such as 4GiB, 512M or 4294967296, which must be above 0.
func (f *Size) Set(s string) error {
	n, err := parseSize(s)
	*f = Size(n)
	return err
}

// Rate is a speed in bytes per second, as a flag; zero means not given.
type Rate int64

// Type names the kind of value in help texts.
func (f *Rate) Type() string { return "rate" }

// String is the speed for people, "" where none was given.
func (f *Rate) String() string { return flagText(int64(*f), FormatRate) }

// Set reads a speed as ParseRate does.
func (f *Rate) Set(s string) error {
	n, err := ParseRate(s)
	*f = Rate(n)
	return err
}

func flagText(n int64, format func(int64) string) string {
	if n == 0 {
		return ""
	}
	return format(n)
}

// FormatSize writes bytes for people, in powers of 1024 with three digits: 1.50 GiB.
func FormatSize(n int64) string {
	return scaled(float64(n), 1024, "B", "KiB", "MiB", "GiB", "TiB")
}

// FormatRate writes bytes per second for people, in bits as networks are sold: 500 Mbit/s.
func FormatRate(n int64) string {
	return scaled(float64(n)*8, 1000, "bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s")
}

func scaled(v, base float64, units ...string) string {
	i := 0
	for i < len(units)-1 && math.Abs(v) >= base*0.9995 {
		v /= base
		i++
	}
	switch {
	case i == 0 || v >= 99.95:
		return fmt.Sprintf("%.0f %s", v, units[i])
	case v >= 9.995:
		return fmt.Sprintf("%.1f %s", v, units[i])
	}
	return fmt.Sprintf("%.2f %s", v, units[i])
}

// FormatSeconds writes a duration in seconds for people: 850 ms, 12.3 s, 4m05s, 1h02m.
func FormatSeconds(s float64) string {
	switch d := time.Duration(s * float64(time.Second)); {
	case d < 999500*time.Microsecond:
		return fmt.Sprintf("%.0f ms", s*1000)
	case d < 59950*time.Millisecond:
		return fmt.Sprintf("%.1f s", s)
	case d < time.Hour-time.Second/2:
		d = d.Round(time.Second)
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	default:
		d = d.Round(time.Minute)
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
}

// Percent is which part of whole part is, in percent, rounded down; 0 of nothing.
func Percent(part, whole int64) int {
	if whole <= 0 {
		return 0
	}
	return int(float64(part) / float64(whole) * 100)
}
