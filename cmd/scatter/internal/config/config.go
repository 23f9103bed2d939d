// Package config gives flags their values from the environment and a configuration file.
package config

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/flagfile"
)

// Help tells users which flag gets its value from where.
const Help = `
Every flag can also be given in the environment (SCATTER_TLS_DIR for --tls-dir; commas part the
values of a flag that may be repeated) and in a TOML file named by --config, with the flag's name
as key: at the top for every command that has the flag, or in a table named after the command.
A flag wins over the environment, the environment over the file, and a command's table over the top.
`

// alternatives are flags that exclude each other: one that was given hides the other's lower-ranking value.
var alternatives = map[string]string{"vm": "discover", "discover": "vm"}

// EnvName is the environment variable of a flag.
func EnvName(flag string) string {
	return "SCATTER_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Fill sets the flags of c that the command line left out: first from the environment, which getenv reads, then from the file at *path, which may
// be a flag of c itself; "" is none. A value that its flag does not take, and a key of the file that is no flag of any command, are errors.
func Fill(c *cobra.Command, getenv func(string) string, path *string) error {
	if err := fillEnv(c.Flags(), getenv); err != nil {
		return err
	}
	if *path == "" {
		return nil
	}
	f, err := read(*path)
	if err != nil {
		return err
	}
	if err := f.check(c.Root()); err != nil {
		return err
	}
	if err := f.fill(c.Flags(), f.table(c)); err != nil {
		return err
	}
	return f.fill(c.Flags(), f.values)
}

func fillEnv(flags *pflag.FlagSet, getenv func(string) string) (err error) {
	free := unset(flags)
	for _, f := range free {
		name := EnvName(f.Name)
		v := getenv(name)
		if v == "" || err != nil {
			continue
		}
		values := []string{v}
		if _, list := f.Value.(pflag.SliceValue); list {
			values = strings.Split(v, ",")
		}
		if e := setAll(flags, f, values); e != nil {
			err = fmt.Errorf("environment variable %s: %w", name, e)
		}
	}
	return err
}

// unset lists the flags that have no value yet and whose alternative has none either.
func unset(flags *pflag.FlagSet) []*pflag.Flag {
	var free []*pflag.Flag
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Changed && !(alternatives[f.Name] != "" && flags.Changed(alternatives[f.Name])) {
			free = append(free, f)
		}
	})
	return free
}

func setAll(flags *pflag.FlagSet, f *pflag.Flag, values []string) error {
	for _, v := range values {
		if err := flags.Set(f.Name, strings.TrimSpace(v)); err != nil {
			return err
		}
	}
	return nil
}

// file is a decoded file: keys are flag names, tables are commands.
type file struct {
	path   string
	values map[string]any
}

func read(path string) (*file, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > flagfile.MaxTOML {
		return nil, fmt.Errorf("config %s: larger than %d bytes", path, flagfile.MaxTOML)
	}
	f := &file{path: path}
	if _, err := toml.DecodeFile(path, &f.values); err != nil {
		return nil, fmt.Errorf("config %s: %w", path, err)
	}
	return f, nil
}

// table is the file's table for command c: [send], or [pki.issue] for a command of a group.
func (f *file) table(c *cobra.Command) map[string]any {
	t := f.values
	for _, name := range strings.Fields(c.CommandPath())[1:] {
		t, _ = t[name].(map[string]any)
	}
	return t
}

// check refuses keys that are no flag: at the top of any command, in a table of its command.
func (f *file) check(root *cobra.Command) error {
	return f.checkTable(root, f.values, "")
}

func (f *file) checkTable(c *cobra.Command, t map[string]any, prefix string) error {
	for _, key := range slices.Sorted(maps.Keys(t)) {
		if sub := subcommand(c, key); sub != nil {
			inner, ok := t[key].(map[string]any)
			if !ok {
				return fmt.Errorf("config %s: %s%s: must be a table", f.path, prefix, key)
			}
			if err := f.checkTable(sub, inner, prefix+key+"."); err != nil {
				return err
			}
			continue
		}
		if key == "config" || key == "help" || !hasFlag(c, key) {
			return fmt.Errorf("config %s: unknown key %q", f.path, prefix+key)
		}
	}
	return nil
}

func subcommand(c *cobra.Command, name string) *cobra.Command {
	i := slices.IndexFunc(c.Commands(), func(s *cobra.Command) bool { return s.Name() == name })
	if i < 0 {
		return nil
	}
	return c.Commands()[i]
}

// hasFlag tells whether c or a command below it has a flag of that name.
func hasFlag(c *cobra.Command, name string) bool {
	if c.Flags().Lookup(name) != nil || c.PersistentFlags().Lookup(name) != nil || c.InheritedFlags().Lookup(name) != nil {
		return true
	}
	return slices.ContainsFunc(c.Commands(), func(s *cobra.Command) bool { return hasFlag(s, name) })
}

// fill sets the flags that have no value yet from table t; keys of other commands are passed over.
func (f *file) fill(flags *pflag.FlagSet, t map[string]any) error {
	for _, flag := range unset(flags) {
		v, ok := t[flag.Name]
		if !ok {
			continue
		}
		values, err := tomlStrings(v)
		if _, list := flag.Value.(pflag.SliceValue); err == nil && !list && len(values) != 1 {
			err = fmt.Errorf("takes one value, not %d", len(values))
		}
		if err == nil {
			err = setAll(flags, flag, values)
		}
		if err != nil {
			return fmt.Errorf("config %s: %s: %w", f.path, flag.Name, err)
		}
	}
	return nil
}

// tomlStrings writes a TOML value the way it is written on the command line.
func tomlStrings(v any) ([]string, error) {
	switch v := v.(type) {
	case string:
		return []string{v}, nil
	case bool, int64, float64:
		return []string{fmt.Sprint(v)}, nil
	case []any:
		var all []string
		for _, e := range v {
			s, err := tomlStrings(e)
			if err != nil {
				return nil, err
			}
			all = append(all, s...)
		}
		return all, nil
	}
	return nil, fmt.Errorf("a %T is no value of a flag", v)
}
