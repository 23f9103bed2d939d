package policy

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/scatter-vm/scatter/qemu/cmdline"
)

const (
	needsNetwork = "needs network access from this host, which is not allowed"
	noFiles      = "file descriptors of the source do not exist here; use a launcher"
)

// rule judges one value and returns what it becomes here.
type rule func(j *judge, value string) (string, error)

// text lets everything through: it is shown to the guest, and never opened.
func text(_ *judge, value string) (string, error) { return value, nil }

// plain lets numbers, switches, names and lists of them through: nothing that could lead to a file.
func plain(j *judge, value string) (string, error) {
	if strings.ContainsAny(value, "/\\{}\"'`$") || strings.HasPrefix(value, ".") {
		return "", j.refuse(value, "looks like a path where none is expected")
	}
	return value, nil
}

func network(j *judge, value string) (string, error) {
	if !j.AllowNetwork {
		return "", j.refuse(value, needsNetwork)
	}
	return plain(j, value)
}

// program lets allowed programs through, and no program.
func program(j *judge, value string) (string, error) {
	if value != "" && value != "no" && !slices.Contains(j.AllowPrograms, value) {
		return "", j.refuse(value, "runs a program that is not allowed")
	}
	j.programs = j.programs || value != "" && value != "no"
	return value, nil
}

func never(reason string) rule {
	return func(j *judge, value string) (string, error) { return "", j.refuse(value, reason) }
}

// off lets only the switched off state through.
func off(reason string) rule {
	return func(j *judge, value string) (string, error) {
		if value != "off" {
			return "", j.refuse(value, reason)
		}
		return value, nil
	}
}

func oneOf(values ...string) rule {
	return func(j *judge, value string) (string, error) {
		if !slices.Contains(values, value) {
			return "", j.refuse(value, "not one of "+strings.Join(values, " "))
		}
		return value, nil
	}
}

func matching(pattern, what string) rule {
	re := regexp.MustCompile(`^(?:` + pattern + `)$`)
	return func(j *judge, value string) (string, error) {
		if !re.MatchString(value) {
			return "", j.refuse(value, "not "+what)
		}
		return value, nil
	}
}

// orElse tries a second rule when the first refuses.
func orElse(first, second rule) rule {
	return func(j *judge, value string) (string, error) {
		if v, err := first(j, value); err == nil {
			return v, nil
		}
		return second(j, value)
	}
}

// keys are the keys of a value with a rule for each. A number between dots is written #; "x.*" stands for all that
// begins so, "*" for every other key. Other keys are refused.
type keys map[string]rule

// allow gives one rule to many keys.
func allow(r rule, names string) keys {
	k := keys{}
	for _, name := range strings.Fields(names) {
		k[name] = r
	}
	return k
}

// with joins tables; the later wins.
func (k keys) with(others ...keys) keys {
	all := keys{}
	for _, t := range append([]keys{k}, others...) {
		for name, r := range t {
			all[name] = r
		}
	}
	return all
}

func (k keys) find(key string) rule {
	parts := strings.Split(key, ".")
	for i, p := range parts {
		if _, err := strconv.ParseUint(p, 10, 32); err == nil {
			parts[i] = "#"
		}
	}
	if r, ok := k[strings.Join(parts, ".")]; ok {
		return r
	}
	for n := len(parts) - 1; n > 0; n-- {
		if r, ok := k[strings.Join(parts[:n], ".")+".*"]; ok {
			return r
		}
	}
	return k["*"]
}

// repeatable are the keys that QEMU collects into lists. Of any other the last wins, which could hide one from us.
var repeatable = strings.Fields("hostfwd dnssearch cpus host-nodes cpu-affinity node-affinity tls-channel plaintext-channel value path")

// value is the shape of an option's value: keys, of which one may decide about the others.
type value struct {
	implied string                             // key of the first part when it has none
	json    bool                               // QEMU takes JSON as well
	kind    string                             // key that selects among kinds, "" if there are none
	real    func(j *judge, kind string) string // the name of a kind that has several; nil = none has
	nested  []string                           // beginnings that are taken off a key before it is looked up, any number of times
	keys    keys                               // allowed always
	kinds   map[string]keys                    // allowed for a kind
	family  func(kind string) bool             // more kinds, without keys of their own
	refused map[string]string
	check   func(j *judge, kind string, pairs cmdline.Pairs) error // of all keys together
}

// rule makes a rule of the shape.
func (v value) rule(j *judge, s string) (string, error) {
	if v.json && strings.HasPrefix(s, "{") {
		return v.ruleJSON(j, s)
	}
	pairs, err := cmdline.ParseKeyval(s, v.implied)
	if err != nil {
		return "", j.refuse(s, err.Error())
	}
	for i, p := range pairs {
		pairs[i] = v.called(j, p)
	}
	if pairs.Count("id") > 1 { // the first counts for some of QEMU's parsers, the last for the others
		return "", j.refuse(s, "more than one id")
	}
	allowed, err := v.allowed(j, s, pairs)
	if err != nil {
		return "", err
	}
	var refused []error
	together := v.together(j, pairs)
	for i, p := range pairs {
		pairs[i].Value, err = allowed.judge(j, v.inner(p))
		refused = append(refused, err)
	}
	return cmdline.FormatKeyval(pairs, v.implied), errors.Join(append(refused, together)...)
}

func (v value) ruleJSON(j *judge, s string) (string, error) {
	tree, err := cmdline.ParseTree(s)
	if err != nil {
		return "", j.refuse(s, "json: "+err.Error())
	}
	err = tree.Map(func(p cmdline.Pair) (string, error) { return v.called(j, p).Value, nil })
	if err != nil {
		return "", j.refuse(s, "json: "+err.Error())
	}
	pairs, err := tree.Leaves()
	if err != nil {
		return "", j.refuse(s, "json: "+err.Error())
	}
	allowed, err := v.allowed(j, s, pairs)
	if err != nil {
		return "", err
	}
	var refused []error
	together := v.together(j, pairs)
	err = tree.Map(func(p cmdline.Pair) (string, error) {
		value, err := allowed.judge(j, v.inner(p))
		refused = append(refused, err)
		return value, nil
	})
	text, ferr := tree.Format()
	return text, errors.Join(append(refused, err, ferr, together)...)
}

// called is a pair in which a kind has its real name.
func (v value) called(j *judge, p cmdline.Pair) cmdline.Pair {
	if v.real != nil && p.Key == v.kind {
		p.Value = v.real(j, p.Value)
	}
	return p
}

// inner takes the names of nested parts off a key.
func (v value) inner(p cmdline.Pair) cmdline.Pair {
	for i := 0; i < len(v.nested); i++ {
		if rest, ok := strings.CutPrefix(p.Key, v.nested[i]); ok {
			p.Key, i = rest, -1
		}
	}
	return p
}

func (k keys) judge(j *judge, p cmdline.Pair) (string, error) {
	if strings.ContainsFunc(p.Value, unicode.IsControl) { // by way of JSON
		return "", j.refuse(p.Key, "has control characters")
	}
	r := k.find(p.Key)
	if r == nil {
		return "", j.refuse(p.Key+"="+p.Value, "key is not known to the launch policy")
	}
	v, err := r(j, p.Value)
	if e, ok := err.(*Error); ok && e.Value == cmdline.Shorten(p.Value) {
		e.Value = cmdline.Shorten(p.Key + "=" + p.Value)
	}
	return v, err
}

// allowed is the table for a value, after its kind.
func (v value) allowed(j *judge, s string, pairs cmdline.Pairs) (keys, error) {
	kind, err := v.kindOf(j, s, pairs)
	if err != nil {
		return nil, err
	}
	table := v.keys
	if v.kind != "" {
		if reason, ok := v.refused[kind]; ok {
			return nil, j.refuse(kind, reason)
		}
		own, ok := v.kinds[kind]
		if !ok && (v.family == nil || !v.family(kind)) {
			return nil, j.refuse(v.kind+"="+kind, "not known to the launch policy")
		}
		table = keys{v.kind: plain}.with(v.keys, own)
	}
	return table, nil
}

// together judges all keys together, before each of them is judged.
func (v value) together(j *judge, pairs cmdline.Pairs) error {
	if v.check == nil {
		return nil
	}
	return v.check(j, pairs.Get(v.kind), pairs)
}

// kindOf finds the kind, and refuses keys that are given twice.
func (v value) kindOf(j *judge, s string, pairs cmdline.Pairs) (kind string, err error) {
	seen := map[string]bool{}
	for _, p := range pairs {
		if seen[p.Key] && !slices.Contains(repeatable, p.Key) {
			return "", j.refuse(s, "key "+p.Key+" given twice")
		}
		seen[p.Key] = true
		if v.kind != "" && p.Key == v.kind {
			kind = p.Value
		}
	}
	return kind, nil
}
