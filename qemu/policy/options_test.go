package policy

import (
	"testing"

	"github.com/scatter-vm/scatter/qemu/cmdline"
)

// TestOptionsAsWritten: the policy judges the options that a command line can be split into, and no others, in the form that they have there.
func TestOptionsAsWritten(t *testing.T) {
	for _, name := range cmdline.Names() {
		if o, ok := options[name]; !ok || (o.rule != nil) != (cmdline.FormOf(name) == cmdline.Valued) {
			t.Errorf("-%s: form %d, judged %t with value %t", name, cmdline.FormOf(name), ok, o.rule != nil)
		}
	}
	for name := range options {
		if cmdline.FormOf(name) == cmdline.Unknown {
			t.Errorf("-%s is judged, and not known to the splitter", name)
		}
	}
}
