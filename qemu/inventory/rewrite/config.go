package rewrite

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/scatter-vm/scatter/qemu/cmdline"
)

// maxConfig bounds a configuration file of QEMU, in bytes.
const maxConfig = 1 << 20

// groups are the groups of a configuration file, and the options that they stand for.
var groups = map[string]string{
	"accel": "accel", "blockdev": "blockdev", "boot-opts": "boot", "chardev": "chardev", "device": "device", "drive": "drive", "global": "global",
	"iscsi": "iscsi", "machine": "machine", "memory": "m", "mon": "mon", "netdev": "netdev", "object": "object", "rtc": "rtc", "smp-opts": "smp",
	"spice": "spice", "vnc": "vnc",
}

// Expand puts the options of configuration files (-readconfig) in the place of their names: what counts is what the source has read. The
// files are those that the process of that pid sees.
func Expand(argv []string, pid int) ([]string, error) {
	out := argv[:min(1, len(argv)):min(1, len(argv))]
	for _, a := range cmdline.Arguments(argv[len(out):]) {
		if a.Name != "readconfig" {
			out = append(out, a.Words()...)
			continue
		}
		options, err := readConfig(pid, a.Value)
		if err != nil {
			return nil, fmt.Errorf("-readconfig %s: %w", a.Value, err)
		}
		for _, o := range options {
			out = append(out, o.Words()...)
		}
	}
	return out, nil
}

func readConfig(pid int, name string) ([]cmdline.Argument, error) {
	root := "root"
	if !filepath.IsAbs(name) {
		root = "cwd"
	}
	f, err := os.OpenFile(filepath.Join(fmt.Sprintf("/proc/%d", pid), root, name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxConfig {
		return nil, fmt.Errorf("no file, or larger than %d bytes", maxConfig)
	}
	return parseConfig(io.LimitReader(f, maxConfig))
}

var (
	configGroup = regexp.MustCompile(`^\[\s*([^\s\]"]+)(?:\s+"([^"]+)")?\s*\]$`)
	configKey   = regexp.MustCompile(`^([^\s=]+)\s*=\s*"([^"]*)"$`)
)

// parseConfig reads the format of qemu_config_foreach (QEMU's util/qemu-config.c).
func parseConfig(r io.Reader) (options []cmdline.Argument, err error) {
	var name string
	var pairs []cmdline.Pair
	end := func() {
		if name != "" {
			options = append(options, cmdline.Argument{Name: name, Value: cmdline.FormatKeyval(pairs, ""), HasValue: true})
		}
	}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if m := configGroup.FindStringSubmatch(line); m != nil {
			end()
			if name, pairs = groups[m[1]], nil; name == "" {
				return nil, fmt.Errorf("line %d: group %.40q is not known", n, m[1])
			}
			if m[2] != "" {
				pairs = []cmdline.Pair{{Key: "id", Value: m[2]}}
			}
			continue
		}
		m := configKey.FindStringSubmatch(line)
		if m == nil || name == "" {
			return nil, fmt.Errorf("line %d: %.80q is neither a group nor a key of one", n, line)
		}
		pairs = append(pairs, cmdline.Pair{Key: m[1], Value: m[2]})
	}
	end()
	return options, lines.Err()
}
