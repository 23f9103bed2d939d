package ram

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// row is a line of "info ramblock". Its columns are name, page size with unit, offset, used and total length; since QEMU 8.0 also the host
// address and ro or rw. Names may be empty or hold blanks.
type row struct {
	line     string
	withHost bool
	name     string
	columns  []string // behind the name
}

// parseBlocks reads the table of "info ramblock".
func parseBlocks(text string) ([]Block, error) {
	rows, err := readTable(text)
	if err != nil {
		return nil, err
	}
	return blocksOf(rows)
}

// readTable takes the table apart.
func readTable(text string) ([]row, error) {
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(text, "\r", ""), "\n "), "\n")
	if !strings.Contains(lines[0], "Block Name") || !strings.Contains(lines[0], "PSize") {
		return nil, fmt.Errorf("ram block table begins with %.60q", lines[0])
	}
	if len(lines)-1 > MaxBlocks {
		return nil, fmt.Errorf("%d ram blocks: more than %d", len(lines)-1, MaxBlocks)
	}
	rows := make([]row, 0, len(lines)-1)
	for _, line := range lines[1:] {
		rows = append(rows, cutRow(line, strings.Contains(lines[0], "HVA")))
	}
	return rows, nil
}

// cutRow reads a line from its right end, because of the name at the left.
func cutRow(line string, withHost bool) row {
	r := row{line: line, withHost: withHost}
	r.name, r.columns = cutFields(line, r.want())
	return r
}

// want is how many columns there should be.
func (r row) want() int {
	if r.withHost {
		return 7
	}
	return 5
}

// blocksOf are the blocks of a table, with different names.
func blocksOf(rows []row) ([]Block, error) {
	blocks := make([]Block, 0, len(rows))
	ids := map[string]bool{}
	for i, r := range rows {
		b, err := r.block()
		if err != nil {
			return nil, fmt.Errorf("ram block line %.120q: %w", r.line, err)
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

// block is what a line tells of a block.
func (r row) block() (Block, error) {
	if len(r.columns) != r.want() {
		return Block{}, errors.New("too few columns")
	}
	f := r.columns
	b := Block{ID: r.name, Migratable: r.name != "", PageSize: 1}
	err := errors.Join(parseSize(f[0], f[1], &b.PageSize), parseHex(f[3], &b.Length), parseHex(f[4], &b.MaxLength))
	if r.withHost {
		err = errors.Join(err, parseHex(f[5], &b.Host))
		b.ReadOnly = f[6] == "ro"
	}
	if err != nil {
		return Block{}, err
	}
	return b, b.check()
}

// offset is where in all RAM the block lies, if the line is that of a block.
func (r row) offset() (offset uint64, err error) {
	err = parseHex(r.columns[2], &offset)
	return offset, err
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
