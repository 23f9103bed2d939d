/*
 * tiny is a guest without an operating system: a multiboot program that fills, rewrites and verifies its memory as the program of
 * package guest does, and speaks its words on the serial port. It runs in 32-bit mode without paging, so it runs in a few MiB, is
 * there at once, and also runs where a hypervisor cannot boot Linux. Between heartbeats it halts.
 *
 *	0x9000     multiboot's information, read once
 *	1 MiB      this program
 *	           a generation for each hot page
 *	           the pages: common, duplicate, own, zero, hot
 *
 * Parameters are on its command line, as scatter.NAME=NUMBER.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

enum { PAGE = 4096 };

/* ---- entry: multiboot leaves interrupts off and segments flat, but no stack and no tables ---- */

__asm__(".section .multiboot, \"a\"\n"
	".align 4\n"
	".long 0x1badb002, 2, -(0x1badb002 + 2)\n" /* flag 2: tell how much memory there is */
	".text\n"
	".globl _start\n"
	"_start:\n"
	"	mov $stack_end, %esp\n"
	"	lgdt gdt_register\n"
	"	ljmp $8, $1f\n"
	"1:	mov $16, %ax\n"
	"	mov %ax, %ds\n"
	"	mov %ax, %es\n"
	"	mov %ax, %ss\n"
	"	push %ebx\n"
	"	call run\n"
	".globl rest\n" /* until the timer ticks. Its handler goes where it must return to: not every hypervisor interprets iret. */
	"rest:	sti\n"
	"1:	hlt\n"
	"	jmp 1b\n"
	"timer:	mov $0x20, %al\n"
	"	out %al, $0x20\n"
	"	add $12, %esp\n"
	"	ret\n"
	"fault:\n"
	"	call panic_fault\n"
	".data\n"
	".align 8\n"
	"gdt:	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff\n"
	"gdt_register: .word 23\n"
	"	.long gdt\n"
	".bss\n"
	".align 16\n"
	"	.skip 8192\n"
	"stack_end:\n"
	".text\n");

extern u8 timer[], fault[], end[];
void rest(void);

static void out(u16 port, u8 v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }

static u8 in(u16 port)
{
	u8 v;
	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

/* ---- serial port ---- */

enum { COM1 = 0x3f8, FIFO = 16, CAN_SEND = 0x20 };

static void serial_init(void)
{
	out(COM1 + 1, 0); /* no interrupts */
	out(COM1 + 3, 3); /* 8n1 */
	out(COM1 + 2, 7); /* FIFO on, empty */
}

/* say sends n bytes, a FIFO full at a time: each access costs the host an exit. */
static void say(const char *s, u32 n)
{
	while (n > 0) {
		u32 piece = n < FIFO ? n : FIFO;
		while (!(in(COM1 + 5) & CAN_SEND))
			__asm__ volatile("pause");
		n -= piece;
		__asm__ volatile("rep outsb" : "+S"(s), "+c"(piece) : "d"(COM1) : "memory");
	}
}

/* line is being put together. */
static struct {
	char text[256];
	u32 length;
} line;

static void put(char c)
{
	if (line.length < sizeof line.text)
		line.text[line.length++] = c;
}

static void puts(const char *s)
{
	while (*s)
		put(*s++);
}

static void put_hex(u64 v)
{
	int shift = 60;
	while (shift > 0 && v >> shift == 0)
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		put("0123456789abcdef"[v >> shift & 15]);
}

static void put_decimal(u32 v)
{
	if (v >= 10)
		put_decimal(v / 10);
	put('0' + v % 10);
}

static void end_line(void)
{
	put('\n');
	say(line.text, line.length);
	line.length = 0;
}

static void panic(const char *why)
{
	line.length = 0;
	puts("guest: PANIC: ");
	puts(why);
	end_line();
	for (;;)
		__asm__ volatile("cli; hlt");
}

void panic_fault(void) { panic("an exception of the processor"); }

/* ---- parameters ---- */

enum kind { COMMON, DUPLICATE, OWN, ZERO, HOT, KINDS };
static const char *const kind_names[KINDS] = {"common", "duplicate", "own", "zero", "hot"};

static u32 id, mib[KINDS] = {2, 1, 1, 1, 1}, dirty = 50, verify = 1000, beat_ms = 20;

static const struct {
	const char *name;
	u32 *to, max;
} parameters[] = {
	{"id=", &id, 0xfffffff}, {"mib_common=", &mib[COMMON], 3072}, {"mib_dup=", &mib[DUPLICATE], 3072},
	{"mib_own=", &mib[OWN], 3072}, {"mib_zero=", &mib[ZERO], 3072}, {"mib_hot=", &mib[HOT], 3072},
	{"dirty=", &dirty, 1000000}, {"verify=", &verify, 1000000}, {"beat_ms=", &beat_ms, 1000},
};

/* after returns what follows the word w in s, 0 if s does not begin with it. */
static const char *after(const char *s, const char *w)
{
	while (*w)
		if (*s++ != *w++)
			return 0;
	return s;
}

static void parameter(const char *s)
{
	for (u32 i = 0; i < sizeof parameters / sizeof *parameters; i++) {
		const char *digits = after(s, parameters[i].name);
		u32 v = 0;
		if (!digits)
			continue;
		for (s = digits; *s >= '0' && *s <= '9' && v <= parameters[i].max; s++)
			v = v * 10 + (*s - '0');
		if (s == digits || (*s && *s != ' ') || v > parameters[i].max)
			panic("a parameter is no number, or too large");
		*parameters[i].to = v;
		return;
	}
	panic("unknown parameter");
}

static void parse(const char *s)
{
	while (*s) {
		const char *ours = after(s, "scatter.");
		if (ours)
			parameter(ours);
		while (*s && *s != ' ')
			s++;
		while (*s == ' ')
			s++;
	}
	if (mib[HOT] == 0 || beat_ms == 0)
		panic("mib_hot and beat_ms must be > 0");
}

/* ---- content ----
 *
 * Each page but a zero one repeats 512 bytes: what names it, then random words. That is little work, and the string instructions do
 * most of it, because some hypervisors interpret code that runs without paging, a million instructions per second.
 */

enum { WORDS = PAGE / 4, HEAD = 128, NAME = 3, DISTINCT = 32 };

static u32 mix(u32 x)
{
	x = (x ^ x >> 16) * 0x7feb352d;
	x = (x ^ x >> 15) * 0x846ca68b;
	return x ^ x >> 16;
}

/* head writes what a page repeats: a function of these numbers and, but for common pages, of the guest. */
static void head(u32 *p, u32 kind, u32 number, u32 generation)
{
	p[0] = kind << 28 | (kind == COMMON ? 0 : id);
	p[1] = kind == DUPLICATE ? number % DISTINCT : number;
	p[2] = generation;
	u32 x = mix(mix(mix(p[0]) ^ p[1]) ^ generation);
	for (u32 i = NAME; i < HEAD; i++) {
		x += 0x9e3779b9;
		p[i] = (x ^ x >> 16) * 0x21f0aaad;
	}
}

static void fill(u32 *p, u32 kind, u32 number, u32 generation)
{
	u32 *from = p, n = WORDS;
	if (kind == ZERO) {
		__asm__ volatile("rep stosl" : "+D"(p), "+c"(n) : "a"(0) : "memory");
		return;
	}
	head(p, kind, number, generation);
	p += HEAD, n -= HEAD;
	__asm__ volatile("rep movsl" : "+S"(from), "+D"(p), "+c"(n) : : "memory");
}

/* equal returns how many of n > 0 words at p and q are equal before the first that differ. */
static u32 equal(const u32 *p, const u32 *q, u32 n)
{
	u32 left = n;
	u8 all;
	__asm__ volatile("repe cmpsl; sete %0" : "=q"(all), "+S"(p), "+D"(q), "+c"(left) : : "memory", "cc");
	return all ? n : n - left - 1;
}

static u32 wanted[HEAD];

/* check returns the first word of p that is wrong, WORDS if none is. */
static u32 check(u32 *p, u32 kind, u32 number, u32 generation)
{
	for (u32 i = 0; kind == ZERO && i < HEAD; i++)
		wanted[i] = 0;
	if (kind != ZERO)
		head(wanted, kind, number, generation);
	u32 at = equal(wanted, p, HEAD);
	return at < HEAD ? at : HEAD + equal(p, p + HEAD, WORDS - HEAD);
}

/* ---- memory ---- */

static u32 *generations; /* of each hot page: what it must hold, kept apart from the page */
static u32 *pages[KINDS];
static u32 counts[KINDS], next_hot, next_kind, next_page;
static u64 verified, wrong;

static void layout(u32 above_kib)
{
	u32 total = 0, at;
	for (u32 k = 0; k < KINDS; k++) {
		counts[k] = mib[k] << 8;
		total += mib[k];
	}
	generations = (u32 *)end;
	at = ((u32)end + 4 * counts[HOT] + PAGE - 1) & -PAGE;
	if (total > 3072 || (at >> 10) + (total << 10) > above_kib + 1024)
		panic("more pages than memory");
	for (u32 i = 0; i < counts[HOT]; i++)
		generations[i] = 0;
	for (u32 k = 0; k < KINDS; k++) {
		pages[k] = (u32 *)at;
		at += mib[k] << 20;
		for (u32 i = 0; i < counts[k]; i++)
			fill(pages[k] + i * WORDS, k, i, 0);
	}
}

static void rewrite(u32 n)
{
	for (; n > 0; n--) {
		fill(pages[HOT] + next_hot * WORDS, HOT, next_hot, ++generations[next_hot]);
		if (++next_hot == counts[HOT])
			next_hot = 0;
	}
}

enum { MAX_REPORTS = 100 };

static void report(u32 generation, u32 at, u32 got)
{
	if (wrong++ >= MAX_REPORTS)
		return;
	puts("CORRUPT ");
	puts(kind_names[next_kind]);
	puts(" page ");
	put_decimal(next_page);
	puts(" generation ");
	put_decimal(generation);
	puts(" word ");
	put_decimal(at);
	puts(": got 0x");
	put_hex(got);
	puts(", want 0x");
	put_hex(wanted[at % HEAD]);
	end_line();
}

static void verify_pages(u32 n)
{
	for (; n > 0; n--, verified++) {
		while (next_page == counts[next_kind]) {
			next_page = 0;
			next_kind = (next_kind + 1) % KINDS;
		}
		u32 generation = next_kind == HOT ? generations[next_page] : 0;
		u32 *p = pages[next_kind] + next_page * WORDS;
		u32 at = check(p, next_kind, next_page, generation);
		if (at < WORDS)
			report(generation, at, p[at]);
		next_page++;
	}
}

/* ---- time: the timer interrupts every tick, and wakes what halts ---- */

enum { PIT_HZ = 1193182, MAX_TICK_MS = 50 };

static struct {
	u16 low, selector, flags, high;
} idt[256];

static struct {
	u16 limit;
	u32 base;
} __attribute__((packed)) idt_register;

static void gate(u32 n, void *handler)
{
	idt[n].low = (u32)handler;
	idt[n].high = (u32)handler >> 16;
	idt[n].selector = 8;
	idt[n].flags = 0x8e00;
}

/* start_timer starts ticks and returns how many milliseconds one takes. */
static u32 start_timer(void)
{
	static const u8 master[] = {0x11, 0x20, 4, 1}, slave[] = {0x11, 0x28, 2, 1};
	u32 parts = (beat_ms + MAX_TICK_MS - 1) / MAX_TICK_MS, tick_ms = beat_ms / parts;
	u32 divisor = PIT_HZ / 1000 * tick_ms;
	for (u32 i = 0; i < 32; i++)
		gate(i, fault);
	gate(32, timer);
	idt_register.limit = sizeof idt - 1;
	idt_register.base = (u32)idt;
	__asm__ volatile("lidt %0" : : "m"(idt_register));
	for (u32 i = 0; i < 4; i++) {
		out(i ? 0x21 : 0x20, master[i]);
		out(i ? 0xa1 : 0xa0, slave[i]);
	}
	out(0x21, 0xfe); /* the timer only */
	out(0xa1, 0xff);
	out(0x43, 0x34); /* periodic */
	out(0x40, divisor);
	out(0x40, divisor >> 8);
	return tick_ms;
}

/* paced turns a rate per second into whole pieces of work. */
static u32 paced(u32 *due, u32 rate, u32 ms)
{
	u64 milli = (u64)rate * ms; /* at most 5e7 */
	u32 n = ((u32)milli + *due) / 1000;
	*due = ((u32)milli + *due) % 1000;
	return n;
}

static void beat(u32 n)
{
	put('h');
	put_hex(n);
	put(' ');
	put_hex(verified);
	put(' ');
	put_hex(wrong);
	end_line();
}

static void loop(u32 tick_ms)
{
	u32 dirty_due = 0, verify_due = 0, n = 0, since = 0;
	for (;;) {
		rest();
		rewrite(paced(&dirty_due, dirty, tick_ms));
		verify_pages(paced(&verify_due, verify, tick_ms));
		since += tick_ms;
		if (since + tick_ms > beat_ms) {
			since = 0;
			beat(n++);
		}
	}
}

/* what multiboot tells; only these fields are looked at. */
struct multiboot {
	u32 flags, lower_kib, upper_kib, device;
	const char *line;
};

enum { HAS_MEMORY = 1, HAS_LINE = 4 };

/* ---- clocks of KVM: an operating system shares memory with it, into which KVM writes the time, also whenever the guest is loaded ---- */

enum { KVM_LEAF = 0x40000000, KVM_CLOCK = 8, KVM_WALL_CLOCK = 0x4b564d00 };

static void share_clock(void)
{
	static u32 wall[4] __attribute__((aligned(16)));
	u32 a = KVM_LEAF, b, c, d;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
	if (b != 0x4b4d564b || c != 0x564b4d56 || d != 0x4d) /* KVMKVMKVM */
		return;
	a = KVM_LEAF + 1;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
	if (a & KVM_CLOCK)
		__asm__ volatile("wrmsr" : : "c"(KVM_WALL_CLOCK), "a"((u32)wall), "d"(0) : "memory");
}

void run(const struct multiboot *m)
{
	u32 total = 0;
	serial_init();
	share_clock();
	if ((m->flags & (HAS_MEMORY | HAS_LINE)) != (HAS_MEMORY | HAS_LINE))
		panic("not started by a multiboot loader that tells memory and a command line");
	u32 upper = m->upper_kib;
	parse(m->line);
	layout(upper);
	for (u32 k = 0; k < KINDS; k++)
		total += counts[k];
	puts("guest: ready: ");
	put_decimal(total);
	puts(" pages filled");
	end_line();
	loop(start_timer());
}
