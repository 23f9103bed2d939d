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

func (p *Parser) headerItem() error {
	m, err := p.in.u32()
	if err != nil {
		return err
	}
	if m != magic {
		return p.malformed("magic %#08x: want %#08x", m, magic)
	}
	v, err := p.in.u32()
	if err != nil {
		return err
	}
	if v != version {
		return p.refused("stream version %d", v)
	}
	if err := p.configuration(); err != nil {
		return err
	}
	p.header.Raw = append([]byte(nil), p.in.token()...)
	p.state = stateSection
	return p.emit(KindHeader)
}

// configuration parses the machine name and its subsections, if they are there.
func (p *Parser) configuration() error {
	t, err := p.in.peek()
	if err != nil || t != typeConfig {
		return err
	}
	p.in.pos++
	n, err := p.in.u32()
	if err != nil {
		return err
	}
	if n > MaxMachineName {
		return p.malformed("machine name of %d bytes: at most %d", n, MaxMachineName)
	}
	name, err := p.in.bytes(int(n))
	if err != nil {
		return err
	}
	p.header.Machine = string(name)
	for {
		t, err := p.in.peek()
		if err != nil || t != typeSubsection {
			return err
		}
		p.in.pos++
		if err := p.configSubsection(); err != nil {
			return err
		}
	}
}

func (p *Parser) configSubsection() error {
	b, err := p.in.str8()
	if err != nil {
		return err
	}
	name := string(b)
	v, err := p.in.u32()
	if err != nil {
		return err
	}
	if v != 1 {
		return p.refused("version %d of %s", v, name)
	}
	switch name {
	case "configuration/target-page-bits":
		return p.configPageBits()
	case "configuration/capabilities":
		return p.configCapabilities()
	case "configuration/uuid":
		return p.configUUID()
	default:
		return p.refused("subsection %q", name)
	}
}

func (p *Parser) configPageBits() (err error) {
	if p.header.PageBits, err = p.in.u32(); err != nil {
		return err
	}
	if p.header.PageBits >= 64 || 1<<p.header.PageBits != PageSize {
		return p.refused("a target page of 2^%d bytes", p.header.PageBits)
	}
	return nil
}

// configCapabilities reads the capabilities that change the format. Each of them changes it beyond what is parsed here.
func (p *Parser) configCapabilities() error {
	n, err := p.in.u32()
	if err != nil {
		return err
	}
	if n > MaxCapabilities {
		return p.malformed("%d capabilities: at most %d", n, MaxCapabilities)
	}
	for range n {
		b, err := p.in.str8()
		if err != nil {
			return err
		}
		p.header.Capabilities = append(p.header.Capabilities, string(b))
	}
	if n > 0 {
		return p.refused("capability %s", p.header.Capabilities[0])
	}
	return nil
}

func (p *Parser) configUUID() error {
	b, err := p.in.bytes(len(p.header.UUID))
	if err != nil {
		return err
	}
	p.header.HasUUID = true
	copy(p.header.UUID[:], b)
	return nil
}
