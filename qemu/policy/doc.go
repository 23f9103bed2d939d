// Package policy decides which command lines of a source may be started on this host, and how they change on the way.
//
// A Policy is the operator's word. A judge carries it through one command line, option by option: each option has a rule (options), most
// have a value whose shape says which keys it may have, with a rule for each (rule), and rules for paths know what leads where (path).
// What was allowed becomes the confinement that the kernel enforces.
package policy
