package rewrite

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
)

// implied are the keys that the first part of an option's value has when it names none.
var implied = map[string]string{
	"machine": "type", "M": "type", "accel": "accel", "device": "driver", "object": "qom-type", "blockdev": "driver",
	"netdev": "type", "chardev": "backend", "smp": "cpus", "m": "size", "net": "type", "nic": "type", "vnc": "vnc", "spice": "",
}

// option is one option of a command line, with the keys of its value. The value is JSON, or pairs of key and value.
type option struct {
	cmdline.Argument
	pairs   []cmdline.Pair
	tree    map[string]any // instead of pairs
	changed bool
}

// parseOption never fails: a value that is not understood has no keys, and stays as it is.
func parseOption(a cmdline.Argument) *option {
	o := &option{Argument: a}
	key, keyed := implied[a.Name]
	switch {
	case !a.HasValue || (!keyed && a.Name != "drive"):
	case strings.HasPrefix(a.Value, "{"):
		if d := json.NewDecoder(strings.NewReader(a.Value)); d != nil {
			d.UseNumber()
			_ = d.Decode(&o.tree)
		}
	default:
		o.pairs, _ = cmdline.ParseKeyval(a.Value, key)
	}
	return o
}

// newOption is an option in JSON.
func newOption(name string, tree map[string]any) *option {
	return &option{Argument: cmdline.Argument{Name: name, HasValue: true}, tree: tree, changed: true}
}

// words are the option's part of a command line: as it was, unless it was changed.
func (o *option) words() []string {
	if o.changed && o.HasValue {
		o.Value = o.format()
	}
	return o.Words()
}

func (o *option) format() string {
	if o.tree == nil {
		return cmdline.FormatKeyval(o.pairs, implied[o.Name])
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(o.tree) // it came from JSON, or from us
	return strings.TrimSuffix(b.String(), "\n")
}

// get is the value of a key as text, "" if there is none. Dots lead into nested parts.
func (o *option) get(key string) string {
	if o.tree == nil {
		value := ""
		for _, p := range o.pairs {
			if p.Key == key {
				value = p.Value
			}
		}
		return value
	}
	v, _ := lookup(o.tree, key)
	return plainText(v)
}

// first is the value of the first of the keys that the option has.
func (o *option) first(keys ...string) string {
	for _, k := range keys {
		if v := o.get(k); v != "" {
			return v
		}
	}
	return ""
}

// has tells whether the option has a key, or anything below it.
func (o *option) has(key string) bool {
	if o.tree == nil {
		return slices.ContainsFunc(o.pairs, func(p cmdline.Pair) bool { return p.Key == key || strings.HasPrefix(p.Key, key+".") })
	}
	_, ok := lookup(o.tree, key)
	return ok
}

// set gives a key a value: text, a number or a switch.
func (o *option) set(key string, value any) {
	o.changed = true
	if o.tree != nil {
		insert(o.tree, key, value)
		return
	}
	i := slices.IndexFunc(o.pairs, func(p cmdline.Pair) bool { return p.Key == key })
	if i < 0 {
		o.pairs = append(o.pairs, cmdline.Pair{Key: key, Value: plainText(value)})
		return
	}
	o.pairs[i].Value = plainText(value)
}

// drop removes keys and all that is below them.
func (o *option) drop(keys ...string) {
	for _, key := range keys {
		if !o.has(key) {
			continue
		}
		o.changed = true
		if o.tree != nil {
			remove(o.tree, key)
			continue
		}
		o.pairs = slices.DeleteFunc(o.pairs, func(p cmdline.Pair) bool { return p.Key == key || strings.HasPrefix(p.Key, key+".") })
	}
}

// nested is the option's value as a tree, also where it is written with dots.
func (o *option) nested() map[string]any {
	if o.tree != nil {
		return o.tree
	}
	tree := map[string]any{}
	for _, p := range o.pairs {
		insert(tree, p.Key, p.Value)
	}
	return tree
}

func lookup(tree map[string]any, key string) (any, bool) {
	head, rest, deeper := strings.Cut(key, ".")
	v, ok := tree[head]
	if !ok || !deeper {
		return v, ok
	}
	sub, ok := v.(map[string]any)
	if !ok {
		return nil, false
	}
	return lookup(sub, rest)
}

func insert(tree map[string]any, key string, value any) {
	head, rest, deeper := strings.Cut(key, ".")
	if !deeper {
		tree[head] = value
		return
	}
	sub, ok := tree[head].(map[string]any)
	if !ok {
		sub = map[string]any{}
		tree[head] = sub
	}
	insert(sub, rest, value)
}

func remove(tree map[string]any, key string) {
	head, rest, deeper := strings.Cut(key, ".")
	if !deeper {
		delete(tree, head)
	} else if sub, ok := tree[head].(map[string]any); ok {
		remove(sub, rest)
	}
}

// plainText is a leaf as it is written behind "key=".
func plainText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return map[bool]string{true: "on", false: "off"}[v]
	case json.Number:
		return v.String()
	case int:
		return strconv.Itoa(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}
