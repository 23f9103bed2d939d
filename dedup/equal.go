package dedup

import (
	"bytes"
	"cmp"
	"slices"
)

// Equal is a set of pages whose bytes were compared and found equal.
type Equal struct {
	Owners []Page // part of the slice given to SplitEqual
	Data   []byte // the bytes they share, part of the data given
	Hash   uint64 // Digest of Data: 0 when it is all zero
}

// SplitEqual appends to dst the groups of owners that hold equal bytes now; data[i*PageSize:] are the bytes of owners[i].
// Owners whose pages changed since the scan thereby fall out of their content into groups of their own. The owners are
// reordered in place, within a group their order is kept. Groups come in the order of their first owner.
func SplitEqual(dst []Equal, seed Seed, owners []Page, data []byte) []Equal {
	if len(owners) == 0 {
		return dst
	}
	if first := pageAt(data, 0); allEqual(first, data[PageSize:len(owners)*PageSize]) {
		return append(dst, Equal{owners, first, Digest(seed, first)})
	}
	return splitHashed(dst, seed, owners, data)
}

func pageAt(data []byte, i int) []byte { return data[i*PageSize : (i+1)*PageSize : (i+1)*PageSize] }

func allEqual(first, rest []byte) bool {
	for ; len(rest) > 0; rest = rest[PageSize:] {
		if !bytes.Equal(first, rest[:PageSize]) {
			return false
		}
	}
	return true
}

// owner is a page on its way into a group.
type owner struct {
	hash uint64
	page Page
	at   int // index of its bytes
}

// splitHashed groups by hash first, so that owners which all differ cost n log n and not n*n comparisons.
func splitHashed(dst []Equal, seed Seed, owners []Page, data []byte) []Equal {
	all := make([]owner, len(owners))
	for i, p := range owners {
		all[i] = owner{Digest(seed, pageAt(data, i)), p, i}
	}
	slices.SortFunc(all, func(a, b owner) int { return cmp.Or(cmp.Compare(a.hash, b.hash), a.at-b.at) })
	var groups [][]owner
	for len(all) > 0 {
		n := splitFirst(all, data)
		groups, all = append(groups, all[:n]), all[n:]
	}
	slices.SortFunc(groups, func(a, b []owner) int { return a[0].at - b[0].at })
	for _, g := range groups {
		for i := range g {
			owners[i] = g[i].page
		}
		dst = append(dst, Equal{owners[:len(g):len(g)], pageAt(data, g[0].at), g[0].hash})
		owners = owners[len(g):]
	}
	return dst
}

// splitFirst moves the owners that equal the first to the front, keeping the order of all, and returns their number.
// Owners of another hash need no comparison.
func splitFirst(all []owner, data []byte) int {
	run := 1
	for run < len(all) && all[run].hash == all[0].hash {
		run++
	}
	same, rest := all[:1], []owner(nil)
	first := pageAt(data, all[0].at)
	for _, o := range all[1:run] {
		if bytes.Equal(first, pageAt(data, o.at)) {
			same = append(same, o)
		} else {
			rest = append(rest, o)
		}
	}
	copy(all[len(same):run], rest)
	return len(same)
}
