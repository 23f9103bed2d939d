package main

import (
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/scatter-vm/scatter/scatter"
)

// required takes pairs of a flag's name and whether it was given, and names all that were not.
func required(pairs ...any) error {
	var missing []string
	for i := 0; i < len(pairs); i += 2 {
		if !pairs[i+1].(bool) {
			missing = append(missing, "--"+pairs[i].(string))
		}
	}
	switch len(missing) {
	case 0:
		return nil
	case 1:
		return usagef("%s is required", missing[0])
	}
	return usagef("%s are required", strings.Join(missing, ", "))
}

// absolute makes paths independent of the working directory: the journal keeps them for a later recover.
func absolute(paths ...*string) error {
	for _, p := range paths {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return &usageError{err}
		}
		*p = abs
	}
	return nil
}

// netFlags are the flags of every command that talks to other hosts.
type netFlags struct {
	iface  string
	tlsDir string
	runDir string
}

func (n *netFlags) add(f *pflag.FlagSet) {
	f.StringVar(&n.iface, "interface", "", "network `interface` that leads to the other hosts (required)")
	f.StringVar(&n.tlsDir, "tls-dir", "", "`directory` of this host's certificates (required)")
	f.StringVar(&n.runDir, "run-dir", scatter.DefaultRunDir, "`directory` of journal and sockets")
}
