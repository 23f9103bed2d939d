package qemu

import "strings"

// Argument is one option of a QEMU command line. Its name is without dashes; a disk image without an option has the
// name "".
type Argument struct {
	Name, Value string
	HasValue    bool
}

// Arguments splits a command line, without its program, into options. Of an option that is not known here, a word that
// does not begin with a dash is taken for the value.
func Arguments(words []string) []Argument {
	var all []Argument
	for len(words) > 0 {
		a, n := nextArgument(words)
		all, words = append(all, a), words[n:]
	}
	return all
}

func nextArgument(words []string) (Argument, int) {
	name, isOption := strings.CutPrefix(words[0], "-")
	if !isOption {
		return Argument{Value: words[0], HasValue: true}, 1
	}
	a := Argument{Name: strings.TrimPrefix(name, "-")}
	opt, known := options[a.Name]
	switch {
	case len(words) < 2, known && opt.rule == nil, !known && strings.HasPrefix(words[1], "-"):
		return a, 1
	}
	a.Value, a.HasValue = words[1], true
	return a, 2
}

// Words is the inverse of Arguments for one option.
func (a Argument) Words() []string {
	switch {
	case a.Name == "":
		return []string{a.Value}
	case a.HasValue:
		return []string{"-" + a.Name, a.Value}
	}
	return []string{"-" + a.Name}
}

// Pair is one key of an option's value: -netdev user,id=n0 has the pairs type=user and id=n0.
type Pair struct{ Key, Value string }

// ParseKeyval reads key=value,key=value as QEMU does: a comma in a value is doubled, the first key may be implied, and a
// key alone switches something on, or off if it begins with no.
func ParseKeyval(s, implied string) ([]Pair, error) {
	pairs, err := parseKeyval(s, implied)
	if err != nil {
		return nil, err
	}
	out := make([]Pair, len(pairs))
	for i, p := range pairs {
		out[i] = Pair{p.key, p.value}
	}
	return out, nil
}

// FormatKeyval is the inverse of ParseKeyval.
func FormatKeyval(pairs []Pair, implied string) string {
	in := make([]pair, len(pairs))
	for i, p := range pairs {
		in[i] = pair{p.Key, p.Value}
	}
	return formatKeyval(in, implied)
}
