package cmdline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Pair is one key of an option's value: -netdev user,id=n0 has the pairs type=user and id=n0.
type Pair struct{ Key, Value string }

var keyName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.\[\]-]{0,127}$`)

// maxPairs bounds the keys of one option.
const maxPairs = 1024

// ParseKeyval reads key=value,key=value as QEMU does: a comma in a value is doubled, the first key may be implied, and a
// key alone switches something on, or off if it begins with no.
func ParseKeyval(s, implied string) (Pairs, error) {
	var pairs Pairs
	for rest := s; rest != ""; {
		var p Pair
		end := strings.IndexAny(rest, "=,")
		switch {
		case end >= 0 && rest[end] == '=':
			p.Key = rest[:end]
			p.Value, rest = cutValue(rest[end+1:])
		case implied != "" && len(pairs) == 0:
			p.Key = implied
			p.Value, rest = cutValue(rest)
		default:
			p, rest = cutFlag(rest)
		}
		if !keyName.MatchString(p.Key) || len(pairs) == maxPairs {
			return nil, fmt.Errorf("key %.40q", p.Key)
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// cutValue takes a value up to the next single comma.
func cutValue(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == ',' {
			if i+1 == len(s) || s[i+1] != ',' {
				return b.String(), s[i+1:]
			}
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

func cutFlag(s string) (Pair, string) {
	key, rest, _ := strings.Cut(s, ",")
	if off, ok := strings.CutPrefix(key, "no"); ok {
		return Pair{off, "off"}, rest
	}
	return Pair{key, "on"}, rest
}

// FormatKeyval is the inverse of ParseKeyval.
func FormatKeyval(pairs []Pair, implied string) string {
	var b strings.Builder
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte(',')
		}
		if i > 0 || p.Key != implied || strings.Contains(p.Value, "=") {
			b.WriteString(p.Key + "=")
		}
		b.WriteString(EscapeComma(p.Value))
	}
	return b.String()
}

// EscapeComma doubles the commas of a value.
func EscapeComma(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// IsOn tells whether a value switches something on, in all of QEMU's spellings.
func IsOn(s string) bool { return s == "on" || s == "yes" || s == "true" || s == "y" }

// Pairs are the keys of a value in the order in which they are written.
type Pairs []Pair

// Get is the value of the first pair with a key, "" if there is none.
func (all Pairs) Get(key string) string {
	for _, p := range all {
		if p.Key == key {
			return p.Value
		}
	}
	return ""
}

// Count is how often a key comes.
func (all Pairs) Count(key string) (n int) {
	for _, p := range all {
		if p.Key == key {
			n++
		}
	}
	return n
}

// Set changes the first pair with a key, or adds one.
func (all *Pairs) Set(key, value string) {
	for i, p := range *all {
		if p.Key == key {
			(*all)[i].Value = value
			return
		}
	}
	*all = append(*all, Pair{key, value})
}

// Drop removes a key, and those that begin with it and a dot.
func (all *Pairs) Drop(prefix string) {
	*all = slices.DeleteFunc(*all, func(p Pair) bool { return p.Key == prefix || strings.HasPrefix(p.Key, prefix+".") })
}
