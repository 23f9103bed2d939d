package ram

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// parseBlocks reads the table of "info ramblock". Its columns are name, page size with unit, offset, used and total
// length; since QEMU 8.0 also the host address and ro or rw. Names may be empty or hold blanks.
func parseBlocks(text string) ([]Block, error) {
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(text, "\r", ""), "\n "), "\n")
	withHost := strings.Contains(lines[0], "HVA")
	if !strings.Contains(lines[0], "Block Name") || !strings.Contains(lines[0], "PSize") {
		return nil, fmt.Errorf("ram block table begins with %.60q", lines[0])
	}
	if len(lines)-1 > MaxBlocks {
		return nil, fmt.Errorf("%d ram blocks: more than %d", len(lines)-1, MaxBlocks)
	}
	blocks := make([]Block, 0, len(lines)-1)
	ids := map[string]bool{}
	for i, line := range lines[1:] {
		b, err := parseBlock(line, withHost)
		if err != nil {
			return nil, fmt.Errorf("ram block line %.120q: %w", line, err)
		}
		if b.ID != "" && ids[b.ID] {
			return nil, fmt.Errorf("ram block %q: listed twice", b.ID)
		}
		ids[b.ID] = true
		b.Index = i
		blocks = append(blocks, b)
	}
	return blocks, nil
}

// parseBlock reads one line from its right end, because of the name at the left.
func parseBlock(line string, withHost bool) (Block, error) {
	columns := 5
	if withHost {
		columns = 7
	}
	name, f := cutFields(line, columns)
	if len(f) != columns {
		return Block{}, errors.New("too few columns")
	}
	b := Block{ID: name, Migratable: name != "", PageSize: 1}
	err := errors.Join(
		parseSize(f[0], f[1], &b.PageSize), parseHex(f[3], &b.Length), parseHex(f[4], &b.MaxLength))
	if withHost {
		err = errors.Join(err, parseHex(f[5], &b.Host))
		b.ReadOnly = f[6] == "ro"
	}
	if err != nil {
		return Block{}, err
	}
	return b, b.check()
}

// cutFields splits the last n fields off a line.
func cutFields(line string, n int) (rest string, fields []string) {
	fields = make([]string, 0, n)
	line = strings.TrimRight(line, " ")
	for range n {
		i := strings.LastIndexByte(line, ' ')
		if line[i+1:] == "" {
			break
		}
		fields = append(fields, line[i+1:])
		line = strings.TrimRight(line[:i+1], " ")
	}
	for i, j := 0, len(fields)-1; i < j; i, j = i+1, j-1 {
		fields[i], fields[j] = fields[j], fields[i]
	}
	return strings.TrimLeft(line, " "), fields
}

func parseHex(s string, v *uint64) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
	*v = n
	return err
}

// parseSize reads a number with a unit: 4 KiB, 2 MiB, 1 GiB.
func parseSize(number, unit string, v *uint64) error {
	shift, ok := map[string]int{"B": 0, "KiB": 10, "MiB": 20, "GiB": 30}[unit]
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || !ok {
		return fmt.Errorf("size %q %q", number, unit)
	}
	*v = n << shift
	return nil
}
