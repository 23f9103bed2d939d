package cmdline

import "strings"

// Settings are the keys of an option's value, in either form.
type Settings interface {
	Get(key string) string
	Set(key, value string)
	Drop(prefix string) // the key, and those that begin with it and a dot
}

// KeyvalOf is the value of one key in key=value,key=value; "" if there is none, or the text is something else.
func KeyvalOf(value, implied, key string) string {
	pairs, err := ParseKeyval(value, implied)
	if err != nil {
		return ""
	}
	return pairs.Get(key)
}

// KeyOf is KeyvalOf, also where an option is written as JSON.
func KeyOf(value, implied, key string) string {
	if !strings.HasPrefix(value, "{") {
		return KeyvalOf(value, implied, key)
	}
	tree, err := ParseTree(value)
	if err != nil {
		return ""
	}
	return tree.Get(key)
}
