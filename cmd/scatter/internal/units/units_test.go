package units

import (
	"math"
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"4GiB": 4 << 30, "4G": 4 << 30, "4 GiB": 4 << 30, "512M": 512 << 20, "512MiB": 512 << 20, "1.5G": 3 << 29,
		"1K": 1024, "1kB": 1000, "2MB": 2e6, "3GB": 3e9, "1T": 1 << 40, "1TB": 1e12, "4096": 4096, "1B": 1,
	} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", s, got, err, want)
		}
	}
	for s, want := range map[string]string{
		"": "want a number", "lots": "want a number", "-1G": "want a number", "0x10": "want a number", "1e9": "want a number",
		"4gib": "unknown unit", "4Gbit": "unknown unit", "0": "> 0", "0.1": "> 0", "9999999999G": "too large",
		"8388608T": "too large", "1 2G": "want a number", "NaN": "want a number", ".5G": "want a number",
		strings.Repeat("9", 400) + "G": "too large",
	} {
		if got, err := parseSize(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %d, %v; want %q", s, got, err, want)
		}
	}
}

func TestParseRate(t *testing.T) {
	for s, want := range map[string]int64{
		"500mbit": 62_500_000, "500Mbit": 62_500_000, "500 Mbit/s": 62_500_000, "1gbit": 125_000_000, "2.5gbit": 312_500_000,
		"8kbit": 1000, "60MB": 60_000_000, "60MB/s": 60_000_000, "60MiB/s": 60 << 20, "1GB": 1e9, "100kB": 100_000,
	} {
		if got, err := ParseRate(s); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", s, got, err, want)
		}
	}
	for s, want := range map[string]string{
		"0": "rate 0", "0mbit": "rate 0", "0.0GB": "rate 0", "500": "bits or bytes", "500M": "bits or bytes", "500mb": "bits or bytes",
		"500Mb/s": "bits or bytes", "-1mbit": "want a number", "fast": "want a number", "1kbit": "less than",
		"99999999999GB": "too large", "": "want a number",
	} {
		if got, err := ParseRate(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %d, %v; want %q", s, got, err, want)
		}
	}
}

func FuzzUnits(f *testing.F) {
	for _, s := range []string{"4GiB", "500mbit", "60MB/s", "0", "1.5 T", "9e9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseSize(s); err == nil && n <= 0 {
			t.Errorf("size %q is %d", s, n)
		}
		if n, err := ParseRate(s); err == nil && n < minRate {
			t.Errorf("rate %q is %d", s, n)
		}
	})
}

func TestFormat(t *testing.T) {
	for want, got := range map[string]string{
		"0 B": FormatSize(0), "1023 B": FormatSize(1023), "1.00 KiB": FormatSize(1024), "1.50 GiB": FormatSize(3 << 29),
		"12.3 MiB": FormatSize(12897485), "512 MiB": FormatSize(512 << 20), "1.00 MiB": FormatSize(1<<20 - 1),
		"500 Mbit/s": FormatRate(62_500_000), "1.00 Gbit/s": FormatRate(125_000_000), "0 bit/s": FormatRate(0),
		"85 ms": FormatSeconds(0.085), "1.0 s": FormatSeconds(0.9999), "12.3 s": FormatSeconds(12.34), "1m00s": FormatSeconds(59.99),
		"4m05s": FormatSeconds(245), "1h02m": FormatSeconds(3720), "1h00m": FormatSeconds(3599.9),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := FormatSize(math.MaxInt64); got != "8388608 TiB" {
		t.Errorf("got %q", got)
	}
}
