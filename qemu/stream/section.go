package stream

import "strings"

// sectionTable has the sections that were started, by their ids.
type sectionTable map[uint32]Section

// start reads the head of a section that was not seen before, behind its type.
func (t sectionTable) start(in *buffer) (Section, error) {
	s, err := readSectionHead(in)
	if err != nil {
		return Section{}, err
	}
	if _, ok := t[s.ID]; ok {
		return Section{}, in.malformed("section %q: id %d is taken", s.Name, s.ID)
	}
	if err := s.accept(in); err != nil {
		return Section{}, err
	}
	if len(t) == MaxSections {
		return Section{}, in.malformed("more than %d sections", MaxSections)
	}
	t[s.ID] = s
	return s, nil
}

// resume reads the head of a further piece of a section, behind its type.
func (t sectionTable) resume(in *buffer) (Section, error) {
	id, err := in.u32()
	if err != nil {
		return Section{}, err
	}
	s, ok := t[id]
	if !ok {
		return Section{}, in.malformed("section id %d was not started", id)
	}
	return s, nil
}

// readSectionHead reads the fields of START and FULL that follow the type.
func readSectionHead(in *buffer) (Section, error) {
	id, err := in.u32()
	if err != nil {
		return Section{}, err
	}
	b, err := in.str8()
	if err != nil {
		return Section{}, err
	}
	s := Section{ID: id, Name: string(b)}
	if s.Instance, err = in.u32(); err != nil {
		return Section{}, err
	}
	s.Version, err = in.u32()
	return s, err
}

// accept refuses sections whose body cannot be delimited.
func (s Section) accept(in *buffer) error {
	switch {
	case s.Name == ramName && s.Version == ramVersion && s.Instance == 0:
		return nil
	case s.Name == bitmapName && s.Version == 1:
		return nil
	case s.Name == ramName || s.Name == bitmapName:
		return in.refused("section %q instance %d version %d", s.Name, s.Instance, s.Version)
	case s.Name == "block":
		return in.refused("capability block (section %q)", s.Name)
	case s.Name == "vfio" || strings.HasSuffix(s.Name, "/vfio"):
		return in.refused("a VFIO device (section %q)", s.Name)
	default:
		return in.refused("section %q", s.Name)
	}
}

// readFooter reads the section's footer when there is one: machine types before 2.4 send none.
func (s Section) readFooter(in *buffer) (found bool, err error) {
	t, err := in.peek()
	if err != nil || t != typeFooter {
		return false, err
	}
	in.pos++
	id, err := in.u32()
	if err != nil {
		return false, err
	}
	if id != s.ID {
		return false, in.malformed("footer of section %d in section %q, id %d", id, s.Name, s.ID)
	}
	return true, nil
}
