package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const configHelp = `
Every flag can also be given in the environment (SCATTER_TLS_DIR for --tls-dir; commas part the
values of a flag that may be repeated) and in a TOML file named by --config, with the flag's name
as key: at the top for every command that has the flag, or in a table named after the command.
A flag wins over the environment, the environment over the file, and a command's table over the top.
`

// maxConfig bounds the configuration file, in bytes.
const maxConfig = 1 << 20

// alternatives are flags that exclude each other: one that was given hides the other's lower-ranking value.
var alternatives = map[string]string{"vm": "discover", "discover": "vm"}

func envName(flag string) string {
	return "SCATTER_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fill sets the flags of c that the command line left out: first from the environment, then from the file.
func (a *app) fill(c *cobra.Command) error {
	if err := a.fillEnv(c.Flags()); err != nil {
		return err
	}
	if a.config == "" {
		return nil
	}
	file, err := readConfig(a.config)
	if err != nil {
		return err
	}
	if err := file.check(c.Root()); err != nil {
		return err
	}
	if err := file.fill(c.Flags(), file.table(c)); err != nil {
		return err
	}
	return file.fill(c.Flags(), file.values)
}

func (a *app) fillEnv(flags *pflag.FlagSet) (err error) {
	free := unset(flags)
	for _, f := range free {
		name := envName(f.Name)
		v := a.getenv(name)
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

// configFile is a decoded file: keys are flag names, tables are commands.
type configFile struct {
	path   string
	values map[string]any
}

// decodeTOML reads at most maxConfig bytes of TOML into v.
func decodeTOML(r io.Reader, v any) (toml.MetaData, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err != nil {
		return toml.MetaData{}, err
	}
	if len(b) > maxConfig {
		return toml.MetaData{}, fmt.Errorf("larger than %d bytes", maxConfig)
	}
	return toml.Decode(string(b), v)
}

func readConfig(path string) (*configFile, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxConfig {
		return nil, fmt.Errorf("config %s: larger than %d bytes", path, maxConfig)
	}
	f := &configFile{path: path}
	if _, err := toml.DecodeFile(path, &f.values); err != nil {
		return nil, fmt.Errorf("config %s: %w", path, err)
	}
	return f, nil
}

// table is the file's table for command c: [send], or [pki.issue] for a command of a group.
func (f *configFile) table(c *cobra.Command) map[string]any {
	t := f.values
	for _, name := range strings.Fields(c.CommandPath())[1:] {
		t, _ = t[name].(map[string]any)
	}
	return t
}

// check refuses keys that are no flag: at the top of any command, in a table of its command.
func (f *configFile) check(root *cobra.Command) error {
	return f.checkTable(root, f.values, "")
}

func (f *configFile) checkTable(c *cobra.Command, t map[string]any, prefix string) error {
	for _, key := range sortedKeys(t) {
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
func (f *configFile) fill(flags *pflag.FlagSet, t map[string]any) error {
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

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
