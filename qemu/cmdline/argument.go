package cmdline

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
		a, rest := Next(words)
		all, words = append(all, a), rest
	}
	return all
}

// Next takes the first option off the words, of which there is one at least.
func Next(words []string) (a Argument, rest []string) {
	name, isOption := strings.CutPrefix(words[0], "-")
	if !isOption {
		return Argument{Value: words[0], HasValue: true}, words[1:]
	}
	a = Argument{Name: strings.TrimPrefix(name, "-")}
	form := FormOf(a.Name)
	if len(words) < 2 || form == Switch || form == Unknown && strings.HasPrefix(words[1], "-") {
		return a, words[1:]
	}
	a.Value, a.HasValue = words[1], true
	return a, words[2:]
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

// Option is how people call the option.
func (a Argument) Option() string {
	if a.Name == "" {
		return "disk image"
	}
	return "-" + a.Name
}

// FirstVNC is the TCP port of display 0, as -vnc counts.
const FirstVNC = 5900

// Shorten is as much of a value as people want to read.
func Shorten(s string) string {
	if len(s) > 120 {
		return s[:120] + "..."
	}
	return s
}
