package qemu

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// pair is one key of an option's value: -netdev user,id=n0 has the pairs type=user and id=n0.
type pair struct{ key, value string }

var keyName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.\[\]-]{0,127}$`)

// maxPairs bounds the keys of one option, and maxDepth how deep JSON may be nested.
const (
	maxPairs = 1024
	maxDepth = 16
)

// parseKeyval reads key=value,key=value as QEMU does: a comma in a value is doubled, the first key may be implied, and a
// key alone switches something on, or off if it begins with no.
func parseKeyval(s, implied string) ([]pair, error) {
	var pairs []pair
	for rest := s; rest != ""; {
		var p pair
		end := strings.IndexAny(rest, "=,")
		switch {
		case end >= 0 && rest[end] == '=':
			p.key = rest[:end]
			p.value, rest = cutValue(rest[end+1:])
		case implied != "" && len(pairs) == 0:
			p.key = implied
			p.value, rest = cutValue(rest)
		default:
			p, rest = cutFlag(rest)
		}
		if !keyName.MatchString(p.key) || len(pairs) == maxPairs {
			return nil, fmt.Errorf("key %.40q", p.key)
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

func cutFlag(s string) (pair, string) {
	key, rest, _ := strings.Cut(s, ",")
	if off, ok := strings.CutPrefix(key, "no"); ok {
		return pair{off, "off"}, rest
	}
	return pair{key, "on"}, rest
}

// formatKeyval is the inverse of parseKeyval.
func formatKeyval(pairs []pair, implied string) string {
	var b strings.Builder
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte(',')
		}
		if i > 0 || p.key != implied || strings.Contains(p.value, "=") {
			b.WriteString(p.key + "=")
		}
		b.WriteString(escapeComma(p.value))
	}
	return b.String()
}

func escapeComma(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// parseTree reads a JSON object. Numbers stay as they are written.
func parseTree(s string) (map[string]any, error) {
	var tree map[string]any
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something behind the object")
	}
	return tree, nil
}

func formatTree(tree map[string]any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(tree)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// leaves are the values in a tree, under keys with dots: {"file": {"driver": "file"}} has the leaf file.driver.
// Their order is that of the keys.
func leaves(tree map[string]any) ([]pair, error) {
	var pairs []pair
	_, err := mapLeaves("", tree, 0, func(p pair) (string, error) {
		if len(pairs) == maxPairs {
			return "", errors.New("too many keys")
		}
		pairs = append(pairs, p)
		return p.value, nil
	})
	return pairs, err
}

// mapLeaves replaces every string in a tree by what change makes of it. All else is shown to change, and
// kept.
func mapLeaves(key string, node any, depth int, change func(pair) (string, error)) (any, error) {
	if depth > maxDepth {
		return nil, errors.New("nested too deep")
	}
	switch v := node.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if !keyName.MatchString(k) || strings.Contains(k, ".") {
				return nil, fmt.Errorf("key %.40q", k)
			}
			changed, err := mapLeaves(joinKey(key, k), v[k], depth+1, change)
			if err != nil {
				return nil, err
			}
			v[k] = changed
		}
		return v, nil
	case []any:
		for i := range v {
			changed, err := mapLeaves(joinKey(key, strconv.Itoa(i)), v[i], depth+1, change)
			if err != nil {
				return nil, err
			}
			v[i] = changed
		}
		return v, nil
	case string:
		return change(pair{key, v})
	case json.Number:
		_, err := change(pair{key, v.String()})
		return v, err
	case bool:
		_, err := change(pair{key, map[bool]string{true: "on", false: "off"}[v]})
		return v, err
	case nil: // such as "backing": null
		_, err := change(pair{key, ""})
		return nil, err
	}
	return nil, fmt.Errorf("key %.40q", key)
}

func joinKey(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}
