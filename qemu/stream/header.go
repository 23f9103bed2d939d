package stream

const (
	magic   = 0x5145564d // "QEVM"
	version = 3
)

// Header is the start of a stream: magic, version and the configuration of the machine.
type Header struct {
	Raw          []byte   // exact wire bytes, the parser's own copy
	Machine      string   // machine type; empty when the source sends no configuration (machine types before 2.4)
	PageBits     uint32   // log2 of the target page size; 0 when not told
	Capabilities []string // that the target must have on as well; a parser accepts none of those known
	UUID         [16]byte // of the VM, with capability validate-uuid
	HasUUID      bool
}

// read reads a header from the very beginning of a stream.
func (h *Header) read(in *buffer) error {
	m, err := in.u32()
	if err != nil {
		return err
	}
	if m != magic {
		return in.malformed("magic %#08x: want %#08x", m, magic)
	}
	v, err := in.u32()
	if err != nil {
		return err
	}
	if v != version {
		return in.refused("stream version %d", v)
	}
	if err := h.configuration(in); err != nil {
		return err
	}
	h.Raw = append([]byte(nil), in.token()...)
	return nil
}

// configuration parses the machine name and its subsections, if they are there.
func (h *Header) configuration(in *buffer) error {
	t, err := in.peek()
	if err != nil || t != typeConfig {
		return err
	}
	in.pos++
	n, err := in.u32()
	if err != nil {
		return err
	}
	if n > MaxMachineName {
		return in.malformed("machine name of %d bytes: at most %d", n, MaxMachineName)
	}
	name, err := in.bytes(int(n))
	if err != nil {
		return err
	}
	h.Machine = string(name)
	for {
		t, err := in.peek()
		if err != nil || t != typeSubsection {
			return err
		}
		in.pos++
		if err := h.subsection(in); err != nil {
			return err
		}
	}
}

func (h *Header) subsection(in *buffer) error {
	b, err := in.str8()
	if err != nil {
		return err
	}
	name := string(b)
	v, err := in.u32()
	if err != nil {
		return err
	}
	if v != 1 {
		return in.refused("version %d of %s", v, name)
	}
	switch name {
	case "configuration/target-page-bits":
		return h.pageBits(in)
	case "configuration/capabilities":
		return h.capabilities(in)
	case "configuration/uuid":
		return h.uuid(in)
	default:
		return in.refused("subsection %q", name)
	}
}

func (h *Header) pageBits(in *buffer) (err error) {
	if h.PageBits, err = in.u32(); err != nil {
		return err
	}
	if h.PageBits >= 64 || 1<<h.PageBits != PageSize {
		return in.refused("a target page of 2^%d bytes", h.PageBits)
	}
	return nil
}

// capabilities reads the capabilities that change the format. Each of them changes it beyond what is parsed here.
func (h *Header) capabilities(in *buffer) error {
	n, err := in.u32()
	if err != nil {
		return err
	}
	if n > MaxCapabilities {
		return in.malformed("%d capabilities: at most %d", n, MaxCapabilities)
	}
	for range n {
		b, err := in.str8()
		if err != nil {
			return err
		}
		h.Capabilities = append(h.Capabilities, string(b))
	}
	if n > 0 {
		return in.refused("capability %s", h.Capabilities[0])
	}
	return nil
}

func (h *Header) uuid(in *buffer) error {
	b, err := in.bytes(len(h.UUID))
	if err != nil {
		return err
	}
	h.HasUUID = true
	copy(h.UUID[:], b)
	return nil
}
