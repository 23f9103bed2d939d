#!/usr/bin/env python3
"""Writes NAME.golden for each NAME.qevm.gz given: what is in the stream, found by a parser of its own.

It shares no code and no table with package stream, reads the whole file at once and walks it byte by byte: slow, but
easy to compare with QEMU's loader. One line per item, or per section with a digest over (kind, block, offset, page) of
its records; a number in front tells how often the line repeats. The sections of device state, and those in a post-copy package, are listed with
their sizes from the description, and each head and footer is checked.
"""
import gzip, hashlib, json, struct, sys

PAGE = 4096
CMD = ['', 'OPEN_RETURN_PATH', 'PING', 'POSTCOPY_ADVISE', 'POSTCOPY_LISTEN', 'POSTCOPY_RUN', 'POSTCOPY_RAM_DISCARD',
       'PACKAGED', 'ENABLE_COLO', 'POSTCOPY_RESUME', 'RECV_BITMAP', 'SWITCHOVER_START']


class Bytes:
    def __init__(self, b):
        self.b, self.at = b, 0

    def take(self, n):
        if self.at + n > len(self.b):
            raise EOFError(self.at)
        self.at += n
        return self.b[self.at - n:self.at]

    def peek(self):
        return self.b[self.at] if self.at < len(self.b) else -1

    def num(self, n):
        return int.from_bytes(self.take(n), 'big')

    def name(self):
        return self.take(self.num(1)).decode()


class Refused(Exception):
    pass


def digest(raw):
    return hashlib.sha256(raw).hexdigest()[:16]


class Summary:
    def __init__(self, b):
        self.s, self.lines, self.sections, self.blocks = Bytes(b), [], {}, {}
        self.block, self.footers, self.postcopy, self.early = None, False, False, set()

    def line(self, *words):
        text = ' '.join(str(w) for w in words)
        if self.lines and self.lines[-1][1] == text:
            self.lines[-1][0] += 1
        else:
            self.lines.append([1, text])

    def walk(self):
        self.header()
        while self.s.at < len(self.s.b):
            at, kind = self.s.at, self.s.num(1)
            if kind == 8:
                self.command(at)
            elif kind == 4 and not self.ended():
                self.early_device(at)
            elif kind in (1, 2, 3):
                self.section(kind)
            elif kind == 0 and self.postcopy:
                self.line('eof')
                if self.s.at != len(self.s.b):
                    raise ValueError('bytes behind the end')
            else:
                self.s.at = at
                self.tail()

    def ended(self):
        return any(x[1] for x in self.sections.values() if x[0] == 'ram')

    def header(self):
        s = self.s
        if s.take(8) != b'QEVM\0\0\0\3':
            raise ValueError('magic')
        machine = ''
        if s.peek() == 7:
            s.num(1)
            machine = s.take(s.num(4)).decode()
            while s.peek() == 5:
                s.num(1)
                name, _ = s.name(), s.num(4)
                if name == 'configuration/uuid':
                    s.take(16)
                elif name == 'configuration/capabilities':
                    raise Refused('capability ' + [s.name() for _ in range(s.num(4))][0])
                else:
                    raise ValueError(name)
        self.line('header', machine or '-', s.at, digest(s.b[:s.at]))

    def command(self, at):
        s = self.s
        c, payload = s.num(2), s.take(s.num(2))
        self.line('command', CMD[c], digest(s.b[at:s.at]))
        if CMD[c] == 'PACKAGED':
            package = s.take(struct.unpack('>I', payload)[0])
            self.line('package', len(package), digest(package))
            self.postcopy = True

    def footer(self, sid):
        if self.s.peek() == 0x7e:
            self.s.num(1)
            if self.s.num(4) != sid:
                raise ValueError('footer')
            self.footers = True

    def early_device(self, at):
        s = self.s
        sid, name, _, _ = s.num(4), s.name(), s.num(4), s.num(4)
        if not name.endswith('virtio-mem-device-early'):
            raise ValueError(name)
        _, region, block, _, _ = s.num(8), s.num(8), s.num(8), s.num(4), s.num(8)
        s.take((region // block + 63) // 64 * 8)
        self.footer(sid)
        self.early.add(name)
        self.line('early', name, s.at - at, digest(s.b[at:s.at]))

    def section(self, kind):
        s = self.s
        sid = s.num(4)
        if kind == 1:
            name, inst, version = s.name(), s.num(4), s.num(4)
            if name == 'block':
                raise Refused('capability block (section "block")')
            self.sections[sid] = [name, False]
            head = ['start', name, sid, inst, version]
        else:
            name = self.sections[sid][0]
            head = ['part' if kind == 2 else 'end', name, sid]
        body = {'ram': self.ram, 'dirty-bitmap': self.bitmap}[name]()
        self.footer(sid)
        self.line(*head, *body)
        if kind == 3:
            self.sections[sid][1] = True

    def ram(self):
        s, h, pages, zeros = self.s, hashlib.sha256(), 0, 0
        while True:
            word = s.num(8)
            flags, off = word & (PAGE - 1), word & ~(PAGE - 1)
            if flags & 4:
                while off:
                    name, n = s.name(), s.num(8)
                    self.blocks[name] = n
                    self.line('block', name, n)
                    off -= n
            elif flags & 0x10:
                break
            elif flags & 0xa:
                if not flags & 0x20:
                    self.block = s.name()
                if off + PAGE > self.blocks[self.block]:
                    raise ValueError('offset')
                zeros, pages = zeros + (flags >> 1 & 1), pages + (flags >> 3 & 1)
                h.update(b'%c%s\0%d\0' % (flags & 0xa, self.block.encode(), off))
                h.update(s.take(PAGE if flags & 8 else 1))
            else:
                cap = {0x40: 'xbzrle', 0x100: 'compress', 0x200: 'multifd'}[flags & ~0x20]
                raise Refused('capability %s (ram record %#x)' % (cap, flags))
        return pages, zeros, h.hexdigest()[:16]

    def bitmap(self):
        s, at, flags, chunks = self.s, self.s.at, 0, 0
        while not flags & 1:
            flags, chunks = s.num(1), chunks + 1
            if flags & 8:
                s.name()
            if flags & 4:
                s.name()
            if flags & 0x10:
                s.take(5)
            elif flags & 0x40:
                s.take(12)
                if not flags & 2:
                    s.take(s.num(8))
        return chunks, s.at - at, digest(s.b[at:s.at])

    def tail(self):
        tail = Bytes(self.s.b[self.s.at:])
        self.s.at = len(self.s.b)
        at = tail.b.rfind(b'\0\6')
        while at >= 0 and int.from_bytes(tail.b[at + 2:at + 6], 'big') != len(tail.b) - at - 6:
            at = tail.b.rfind(b'\0\6', 0, at)
        if at < 0:
            self.line('tail', len(tail.b), digest(tail.b))
            return
        devices = [d for d in json.loads(tail.b[at + 6:])['devices'] if d['name'] not in self.early]
        for d in devices:
            begin = tail.at
            if tail.num(1) != 4:
                raise ValueError('device %s' % d['name'])
            sid, name, inst, _ = tail.num(4), tail.name(), tail.num(4), tail.num(4)
            if (name, inst) != (d['name'], d['instance_id']):
                raise ValueError('device %s instead of %s' % (name, d['name']))
            tail.take(size(d))
            if self.footers and (tail.num(1) != 0x7e or tail.num(4) != sid):
                raise ValueError('footer of %s' % name)
            self.line('device', name, inst, tail.at - begin)
        if tail.at != at:
            raise ValueError('devices end at %d, not %d' % (tail.at, at))
        self.line('tail', len(tail.b), digest(tail.b), len(devices))


def size(d):
    n = sum(f['size'] * f.get('array_len', 1) for f in d.get('fields', []))
    return n + sum(6 + len(x['vmsd_name']) + size(x) for x in d.get('subsections', []))


def main():
    for file in sys.argv[1:]:
        s = Summary(gzip.open(file).read())
        try:
            s.walk()
        except Refused as e:
            s.line('refused', e)
        with open(file.replace('.qevm.gz', '.golden'), 'w') as out:
            out.writelines('%d %s\n' % tuple(x) for x in s.lines)


main()
