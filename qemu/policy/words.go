package policy

import (
	"errors"
	"regexp"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
	"github.com/scatter-vm/scatter/qemu/vmname"
)

const (
	maxArgs   = 8192      // options of one command line
	maxArgLen = 128 << 10 // bytes of one argument; the kernel takes no longer ones
)

// guestName is the name that QEMU is given: the VM's own, if that is known here by this name.
func guestName(items []cmdline.Argument, name string) string {
	for _, it := range items {
		if own := cmdline.KeyvalOf(it.Value, "guest", "guest"); it.Name == "name" && own != "" && vmname.Alias(own) == name {
			return own
		}
	}
	return name
}

// split separates a command line, without its program, into the options that are known. The error names the others.
func split(args []string) (items []cmdline.Argument, err error) {
	var refused []error
	for len(args) > 0 {
		it, rest, err := nextItem(args)
		if err != nil {
			refused = append(refused, err)
		} else {
			items = append(items, it)
		}
		args = rest
	}
	return items, errors.Join(refused...)
}

// nextItem takes an option off.
func nextItem(args []string) (cmdline.Argument, []string, error) {
	it, rest := cmdline.Next(args)
	switch form := cmdline.FormOf(it.Name); {
	case !strings.HasPrefix(args[0], "-"): // a disk image
	case form == cmdline.Unknown:
		return it, rest, &Error{Option: cmdline.Shorten(args[0]), Reason: "not known to the launch policy"}
	case form == cmdline.Valued && !it.HasValue:
		return it, nil, &Error{Option: it.Option(), Reason: "its value is missing"}
	}
	return it, rest, checkArgument(it)
}

// checkArgument refuses what no honest value has.
func checkArgument(it cmdline.Argument) error {
	if len(it.Value) > maxArgLen {
		return &Error{Option: it.Option(), Value: cmdline.Shorten(it.Value), Reason: "too long"}
	}
	if strings.ContainsFunc(it.Value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return &Error{Option: it.Option(), Value: cmdline.Shorten(it.Value), Reason: "has control characters"}
	}
	return nil
}

// withoutMonitors drops the character devices that only a dropped monitor used.
func withoutMonitors(items []cmdline.Argument) []cmdline.Argument {
	monitors := map[string]bool{}
	for _, it := range items {
		if it.Name == "mon" {
			monitors[cmdline.KeyvalOf(it.Value, "chardev", "chardev")] = true
		}
	}
	var kept []cmdline.Argument
	for _, it := range items {
		id := ""
		if it.Name == "chardev" {
			id = cmdline.KeyvalOf(it.Value, "backend", "id")
		}
		if id == "" || !monitors[id] || usesChardev(items, id) {
			kept = append(kept, it)
		}
	}
	return kept
}

// usesChardev tells whether an option other than a monitor names the character device. One yes too many is harmless:
// the character device is judged like all others.
func usesChardev(items []cmdline.Argument, id string) bool {
	uses := regexp.MustCompile(`chardev[0-9]*"?\s*[:=]\s*"?` + regexp.QuoteMeta(id) + `($|[",])`)
	for _, it := range items {
		if it.Name != "mon" && it.Name != "chardev" && uses.MatchString(it.Value) {
			return true
		}
	}
	return false
}
