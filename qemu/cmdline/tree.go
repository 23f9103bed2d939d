package cmdline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// maxDepth bounds how deep JSON may be nested.
const maxDepth = 16

// Tree is the value of an option that is written as JSON.
type Tree map[string]any

// ParseTree reads a JSON object. Numbers stay as they are written.
func ParseTree(s string) (Tree, error) {
	var t Tree
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	if err := d.Decode(&t); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something behind the object")
	}
	return t, nil
}

// Format is the inverse of ParseTree.
func (t Tree) Format() (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(t)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// Leaves are the values in a tree, under keys with dots: {"file": {"driver": "file"}} has the leaf file.driver.
// Their order is that of the keys.
func (t Tree) Leaves() (Pairs, error) {
	var pairs Pairs
	err := t.Map(func(p Pair) (string, error) {
		if len(pairs) == maxPairs {
			return "", errors.New("too many keys")
		}
		pairs = append(pairs, p)
		return p.Value, nil
	})
	return pairs, err
}

// Map replaces every string in a tree by what change makes of it. All else is shown to change, and kept.
func (t Tree) Map(change func(Pair) (string, error)) error {
	_, err := mapLeaves("", map[string]any(t), 0, change)
	return err
}

func mapLeaves(key string, node any, depth int, change func(Pair) (string, error)) (any, error) {
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
		return change(Pair{key, v})
	case json.Number:
		_, err := change(Pair{key, v.String()})
		return v, err
	case bool:
		_, err := change(Pair{key, map[bool]string{true: "on", false: "off"}[v]})
		return v, err
	case nil: // such as "backing": null
		_, err := change(Pair{key, ""})
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

// Get is the value of an outermost key as it is written behind "key=", "" if there is none.
func (t Tree) Get(key string) string {
	switch v := t[key].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return map[bool]string{true: "on", false: "off"}[v]
	}
	return ""
}

// Set gives an outermost key a value, which is written as it is behind "key=".
func (t Tree) Set(key, value string) {
	switch value {
	case "on", "off":
		t[key] = value == "on"
	default:
		if n := json.Number(value); isDigits(value) {
			t[key] = n
		} else {
			t[key] = value
		}
	}
}

// Drop removes an outermost key with all that is below it.
func (t Tree) Drop(key string) { delete(t, key) }

func isDigits(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}
