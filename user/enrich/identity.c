// SPDX-License-Identifier: Apache-2.0
/*
 * The last resort of naming, and the readers of what a process says about itself. The
 * executable decides, never argv[0], because programs rewrite that ("nginx: worker process");
 * argv[0] counts only where one executable is many programs (busybox) or none is known.
 */
#include "user/enrich/identity.h"
#include "user/enrich/interpreters.h"

struct str identity_base(struct str path)
{
	const char *slash = path.len ? memrchr(path.p, '/', path.len) : NULL;

	if (!slash)
		return path;
	return (struct str){slash + 1, path.len - (size_t)(slash + 1 - path.p)};
}

void identity_clean(char *dst, size_t cap, struct str raw)
{
	_buf_ struct buf b = BUF_INIT;
	size_t len;

	/* nothing that is cut off can matter: a character has 4 bytes at most, a broken byte becomes 3 */
	buf_utf8(&b, (struct str){raw.p, MIN(raw.len, cap * 4)});
	len = b.err ? 0 : b.len;
	if (len >= cap) {
		len = cap - 1;
		while (len && ((unsigned char)b.data[len] & 0xc0) == 0x80)
			len--;
	}
	for (size_t i = 0; i < len; i++)
		dst[i] = (unsigned char)b.data[i] < 0x20 || b.data[i] == 0x7f ? '?' : b.data[i];
	dst[len] = 0;
}

bool identity_env(struct str environ, const char *name, struct str *ret_value)
{
	size_t len = strlen(name);
	struct str var;

	while (str_split(&environ, 0, &var)) {
		if (var.len <= len || var.p[len] != '=' || memcmp(var.p, name, len) != 0)
			continue;
		*ret_value = (struct str){var.p + len + 1, var.len - len - 1};
		return true;
	}
	return false;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int percent_decode(struct buf *b, struct str s)
{
	buf_clear(b);
	for (size_t i = 0; i < s.len; i++) {
		int hi, lo;

		if (s.p[i] != '%') {
			buf_addc(b, s.p[i]);
			continue;
		}
		if (i + 2 >= s.len)
			return -EINVAL;
		hi = hex(s.p[i + 1]);
		lo = hex(s.p[i + 2]);
		if (hi < 0 || lo < 0 || (hi | lo) == 0)
			return -EINVAL;
		buf_addc(b, (char)(hi << 4 | lo));
		i += 2;
	}
	return b->err;
}

/* One member; an empty one (a trailing comma) is fine and yields no key. */
static int attribute(struct str member, struct buf *b, char key[IDENTITY_NAME_MAX], char value[1024])
{
	struct str k;

	key[0] = 0;
	member = str_trim(member);
	if (!member.len)
		return 0;
	if (!memchr(member.p, '=', member.len) || !str_split(&member, '=', &k) || !(k = str_trim(k)).len)
		return -EINVAL;
	if (percent_decode(b, k))
		return -EINVAL;
	identity_clean(key, IDENTITY_NAME_MAX, buf_view(b));
	if (percent_decode(b, str_trim(member)))
		return -EINVAL;
	identity_clean(value, 1024, buf_view(b));
	return 0;
}

int identity_attributes(struct str value, void (*each)(void *ctx, const char *key, const char *value), void *ctx)
{
	_buf_ struct buf b = BUF_INIT;
	char key[IDENTITY_NAME_MAX], text[1024];

	for (int pass = 0; pass < 2; pass++) {
		struct str rest = value, member;
		size_t n = 0;

		while (str_split(&rest, ',', &member) && n < IDENTITY_ATTRS_MAX) {
			if (attribute(member, &b, key, text))
				return -EINVAL;
			if (!key[0])
				continue;
			n++;
			if (pass)
				each(ctx, key, text);
		}
	}
	return 0;
}

/* systemd.unit(5): what a file name cannot hold is written \xNN */
static size_t unescape(char *dst, struct str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len && n < IDENTITY_NAME_MAX - 1; i++) {
		if (s.p[i] == '\\' && i + 3 < s.len && s.p[i + 1] == 'x' && hex(s.p[i + 2]) >= 0 &&
		    hex(s.p[i + 3]) >= 0) {
			dst[n++] = (char)(hex(s.p[i + 2]) << 4 | hex(s.p[i + 3]));
			i += 3;
		} else {
			dst[n++] = s.p[i];
		}
	}
	return n;
}

bool identity_unit(struct str unit, char ret_name[IDENTITY_NAME_MAX])
{
	/* what they start is somebody else's: a login, a job; and systemd-run makes up names */
	static const char *const launchers[] = {
		"user@*",   "cron",	      "crond",	   "anacron",	     "atd",
		"ssh",	    "sshd",	      "ssh@*",	   "sshd@*",	     "dropbear",
		"getty@*",  "serial-getty@*", "autovt@*",  "console-getty",  "container-getty@*",
		"rc-local", "rescue",	      "emergency", "run-[up][0-9]*", "run-[0-9]*",
		"app-*",    "sonde"};
	const struct str suffix = STR(".service");
	char name[IDENTITY_NAME_MAX];
	const char *at;

	if (unit.len <= suffix.len || memcmp(unit.p + unit.len - suffix.len, suffix.p, suffix.len) != 0)
		return false;
	unit.len -= suffix.len;
	for (size_t i = 0; i < ARRAY_SIZE(launchers); i++) {
		if (str_glob(launchers[i], unit))
			return false;
	}
	if (unit.len == 37 && str_glob("run-r*", unit) && strspn(unit.p + 5, "0123456789abcdef") >= 32)
		return false;
	at = memchr(unit.p, '@', unit.len);
	if (at)
		unit.len = (size_t)(at - unit.p);
	if (!unit.len)
		return false;
	identity_clean(ret_name, IDENTITY_NAME_MAX, (struct str){name, unescape(name, unit)});
	return true;
}

static void split_args(struct str text, struct args *ret)
{
	struct str arg;

	ret->n = 0;
	while (ret->n < ARGS_MAX && str_split(&text, 0, &arg))
		ret->v[ret->n++] = arg;
}

static void shift(struct args *a, size_t n)
{
	n = MIN(n, a->n);
	memmove(a->v, a->v + n, (a->n - n) * sizeof(a->v[0]));
	a->n -= n;
}

/* "-bash" is a login shell */
static struct str argv0(const struct args *a)
{
	struct str s = a->n ? identity_base(a->v[0]) : (struct str){0};

	if (s.len > 1 && s.p[0] == '-')
		s = (struct str){s.p + 1, s.len - 1};
	return s;
}

/* One executable, many programs: the name it was called by decides. */
static bool many_in_one(struct str exe)
{
	return str_glob("busybox*", exe) || str_is(exe, "toybox") || str_is(exe, "coreutils");
}

/* "/lib64/ld-linux-x86-64.so.2 --library-path X ./program": the loader called by hand */
static void skip_loader(struct args *a)
{
	static const char *const with_value[] = {
		"--library-path",	  "--preload",		"--audit", "--argv0", "--inhibit-rpath",
		"--glibc-hwcaps-prepend", "--glibc-hwcaps-mask"};

	shift(a, 1);
	while (a->n && a->v[0].len && a->v[0].p[0] == '-') {
		size_t n = 1;

		for (size_t i = 0; i < ARRAY_SIZE(with_value); i++)
			n += str_is(a->v[0], with_value[i]);
		shift(a, n);
	}
}

/* The base name of what runs; moves `args` so that the interpreter's options follow [0]. */
static struct str executable(const struct identity_input *in, struct args *args)
{
	struct str exe = identity_base(in->exe);

	if (str_glob("ld-linux*.so*", exe) || str_glob("ld-musl-*.so*", exe) || str_glob("ld-2.*.so", exe)) {
		skip_loader(args);
		if (args->n)
			exe = identity_base(args->v[0]);
	}
	if (many_in_one(exe) && args->n) {
		if (many_in_one(argv0(args)) && args->n > 1)
			shift(args, 1);
		exe = argv0(args);
	}
	/* a title ("postgres: writer") is no path */
	if (!exe.len && args->n && !memchr(args->v[0].p, ' ', args->v[0].len))
		exe = argv0(args);
	return exe.len ? exe : in->comm;
}

void identity_program(const struct identity_input *in, struct identity_program *ret)
{
	const struct str memfd = STR("memfd:");
	struct args args;
	struct str exe;

	split_args(in->args, &args);
	*ret = (struct identity_program){0};
	exe = executable(in, &args);
	if (exe.len > memfd.len && !memcmp(exe.p, memfd.p, memfd.len))
		exe = (struct str){exe.p + memfd.len, exe.len - memfd.len};
	if (interpreters_program(exe, &args, in, ret) || ret->name[0])
		return;
	identity_clean(ret->name, sizeof(ret->name), exe);
	if (!ret->name[0])
		strcpy(ret->name, "unknown");
}
