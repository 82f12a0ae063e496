// SPDX-License-Identifier: Apache-2.0
/*
 * The types of the options: text to value, equality, freeing; and the checks that
 * one value must pass alone. Parsers are strict and know no locale. A refusal writes
 * into `why` what stands behind the quoted value: the reason, then the way out.
 */
#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>

#include "user/base/clock.h"
#include "user/config_internal.h"

#define LIST_MAX    4096
#define BUCKETS_MAX 64
#define SHOWN_MAX   100

void add_quoted_value(struct buf *b, struct str text)
{
	size_t shown = MIN(text.len, (size_t)SHOWN_MAX);

	/* not in the middle of a character */
	while (shown < text.len && shown > 0 && ((uint8_t)text.p[shown] & 0xc0) == 0x80)
		shown--;
	/* single quotes: double ones would be escaped by the log */
	buf_addc(b, '\'');
	buf_str(b, (struct str){text.p, shown});
	buf_puts(b, shown < text.len ? "…'" : "'");
}

void add_duration(struct buf *b, uint64_t ns)
{
	static const struct {
		uint64_t ns;
		const char *unit;
	} units[] = {{3600 * NSEC_PER_SEC, "h"}, {60 * NSEC_PER_SEC, "m"}, {NSEC_PER_SEC, "s"},
		     {NSEC_PER_MSEC, "ms"},	 {NSEC_PER_USEC, "us"},	   {1, "ns"}};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (ns && ns % units[i].ns == 0) {
			buf_u64(b, ns / units[i].ns);
			buf_puts(b, units[i].unit);
			return;
		}
	}
	buf_puts(b, "0s");
}

/* ---- containers ---- */

int list_add(struct str_list *l, struct str item)
{
	char **v;

	if (l->n >= LIST_MAX)
		return -E2BIG;
	v = realloc(l->v, (l->n + 1) * sizeof(*v));
	if (!v)
		return -ENOMEM;
	l->v = v;
	v[l->n] = str_dup(item);
	if (!v[l->n])
		return -ENOMEM;
	l->n++;
	return 0;
}

static int doubles_add(struct double_list *l, double d)
{
	double *v;

	if (l->n >= LIST_MAX)
		return -E2BIG;
	v = realloc(l->v, (l->n + 1) * sizeof(*v));
	if (!v)
		return -ENOMEM;
	l->v = v;
	v[l->n++] = d;
	return 0;
}

void kv_remove(struct kv_list *l, const char *key)
{
	for (size_t i = 0; i < l->n; i++) {
		if (strcmp(l->v[i].key, key))
			continue;
		free(l->v[i].key);
		free(l->v[i].value);
		memmove(&l->v[i], &l->v[i + 1], (--l->n - i) * sizeof(l->v[0]));
		return;
	}
}

int kv_set(struct kv_list *l, struct str key, struct str value)
{
	_free_ char *k = str_dup(key);
	_free_ char *val = str_dup(value);
	struct kv *v;

	if (!k || !val)
		return -ENOMEM;
	kv_remove(l, k);
	if (l->n >= LIST_MAX)
		return -E2BIG;
	v = realloc(l->v, (l->n + 1) * sizeof(*v));
	if (!v)
		return -ENOMEM;
	l->v = v;
	v[l->n].key = TAKE_PTR(k);
	v[l->n].value = TAKE_PTR(val);
	l->n++;
	return 0;
}

/* ---- text to value ---- */

static bool yes_or_no(struct str text, bool *ret)
{
	static const char *const yes[] = {"true", "yes", "on", "1"};
	static const char *const no[] = {"false", "no", "off", "0"};

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		bool is_yes = str_eq_nocase(text, str_of(yes[i]));

		if (is_yes || str_eq_nocase(text, str_of(no[i]))) {
			*ret = is_yes;
			return true;
		}
	}
	return false;
}

static int parse_int(struct str text, int64_t *ret)
{
	bool minus = text.len && text.p[0] == '-';
	uint64_t v;
	int err;

	if (minus || (text.len && text.p[0] == '+')) {
		text.p++;
		text.len--;
	}
	err = str_to_u64(text, &v);
	if (err)
		return err;
	if (v > INT64_MAX)
		return -ERANGE;
	*ret = minus ? -(int64_t)v : (int64_t)v;
	return 0;
}

static int parse_double(struct str text, double *ret)
{
	char tmp[64], *end;
	double v;

	if (!text.len || text.len >= sizeof(tmp))
		return -EINVAL;
	for (size_t i = 0; i < text.len; i++) {
		/* no hexadecimal, no "inf", no "nan" */
		if (!strchr("0123456789+-.eE", text.p[i]) || !text.p[i])
			return -EINVAL;
		tmp[i] = text.p[i];
	}
	tmp[text.len] = 0;
	v = strtod(tmp, &end);
	if (*end || !isfinite(v))
		return -EINVAL;
	*ret = v;
	return 0;
}

/* The digits at the front of `s`; `s` moves behind them. */
static struct str take_digits(struct str *s)
{
	struct str d = {s->p, 0};

	while (s->len && s->p[0] >= '0' && s->p[0] <= '9') {
		s->p++;
		s->len--;
		d.len++;
	}
	return d;
}

static struct str take_unit(struct str *s)
{
	struct str u = {s->p, 0};

	while (s->len && s->p[0] != '.' && (s->p[0] < '0' || s->p[0] > '9')) {
		s->p++;
		s->len--;
		u.len++;
	}
	return u;
}

static int parse_size(struct str text, uint64_t *ret)
{
	static const struct {
		const char *unit;
		uint64_t bytes;
	} units[] = {
		{"", 1},	   {"b", 1},	       {"k", 1ULL << 10},   {"ki", 1ULL << 10},	 {"kib", 1ULL << 10},
		{"kb", 1000},	   {"m", 1ULL << 20},  {"mi", 1ULL << 20},  {"mib", 1ULL << 20}, {"mb", 1000000},
		{"g", 1ULL << 30}, {"gi", 1ULL << 30}, {"gib", 1ULL << 30}, {"gb", 1000000000},
	};
	struct str unit = text, digits = take_digits(&unit);
	uint64_t v;
	int err = str_to_u64(digits, &v);

	if (err)
		return err;
	unit = str_trim(unit);
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (str_eq_nocase(unit, str_of(units[i].unit)))
			return __builtin_mul_overflow(v, units[i].bytes, ret) ? -ERANGE : 0;
	}
	return -EINVAL;
}

static uint64_t duration_unit(struct str unit)
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} units[] = {
		{"ns", 1},
		{"us", NSEC_PER_USEC},
		{"\xc2\xb5s", NSEC_PER_USEC}, /* both of Unicode's micro signs */
		{"\xce\xbcs", NSEC_PER_USEC},
		{"ms", NSEC_PER_MSEC},
		{"s", NSEC_PER_SEC},
		{"m", 60 * NSEC_PER_SEC},
		{"h", 3600 * NSEC_PER_SEC},
		{"d", 86400 * NSEC_PER_SEC},
	};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (str_is(unit, units[i].unit))
			return units[i].ns;
	}
	return 0;
}

/* One or more of number and unit: 15m, 1h30m, 0.5s. "0" needs no unit. */
static int parse_duration(struct str text, bool bare_ms, uint64_t *ret)
{
	unsigned __int128 total = 0;
	struct str rest = text;
	bool bare;

	if (!text.len)
		return -EINVAL;
	while (rest.len) {
		struct str whole = take_digits(&rest), part = {0};
		uint64_t w = 0, f = 0, scale = 1, ns;
		struct str unit;

		if (rest.len && rest.p[0] == '.') {
			rest.p++;
			rest.len--;
			part = take_digits(&rest);
		}
		if ((!whole.len && !part.len) || part.len > 9 || (whole.len && str_to_u64(whole, &w)) ||
		    (part.len && str_to_u64(part, &f)))
			return -EINVAL;
		for (size_t i = 0; i < part.len; i++)
			scale *= 10;
		unit = str_trim(take_unit(&rest));
		/* without a unit: the whole text is one number */
		bare = !unit.len && whole.p == text.p && !rest.len;
		ns = bare && bare_ms ? NSEC_PER_MSEC : duration_unit(unit);
		if (!ns && !(bare && !w && !f))
			return -EINVAL;
		total += (unsigned __int128)w * ns + (unsigned __int128)f * ns / scale;
		if (total > INT64_MAX)
			return -ERANGE;
	}
	*ret = (uint64_t)total;
	return 0;
}

static int parse_enum(const char *words, struct str text, int *ret)
{
	struct str rest = str_of(words), word;

	for (int i = 0; str_split(&rest, '|', &word); i++) {
		if (str_eq_nocase(word, text)) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3986 percent-encoding, as W3C Baggage uses it; a NUL cannot be held. */
static int percent_decode(struct str text, struct buf *out)
{
	buf_clear(out);
	buf_add(out, "", 0);
	for (size_t i = 0; i < text.len; i++) {
		int hi, lo;

		if (text.p[i] != '%') {
			buf_addc(out, text.p[i]);
			continue;
		}
		if (text.len - i < 3)
			return -EINVAL;
		hi = hex_digit(text.p[i + 1]);
		lo = hex_digit(text.p[i + 2]);
		if (hi < 0 || lo < 0 || !(hi | lo))
			return -EINVAL;
		buf_addc(out, (char)(hi << 4 | lo));
		i += 2;
	}
	return out->err;
}

static int parse_kv(struct str text, struct kv_list *ret, struct buf *why)
{
	_buf_ struct buf key = BUF_INIT;
	_buf_ struct buf value = BUF_INIT;
	struct str item, k;
	int err;

	while (str_split(&text, ',', &item)) {
		struct str v = str_trim(item);

		if (!v.len)
			continue;
		if (!memchr(v.p, '=', v.len) || !str_split(&v, '=', &k) || !(k = str_trim(k)).len) {
			buf_puts(why, "has a part that is not KEY=VALUE; write KEY=VALUE,KEY=VALUE and ',' inside "
				      "a value as %2C");
			return -EINVAL;
		}
		err = percent_decode(k, &key);
		if (!err)
			err = percent_decode(str_trim(v), &value);
		if (err == -EINVAL)
			buf_puts(why, "has a '%' that two hexadecimal digits (not 00) do not follow; write a plain "
				      "'%' as %25");
		if (!err)
			err = kv_set(ret, buf_view(&key), buf_view(&value));
		if (err)
			return err;
	}
	return 0;
}

bool value_is_list(enum opt_type type)
{
	return type == OPT_LIST || type == OPT_DOUBLES || type == OPT_WORDS;
}

static void add_words(const struct opt_row *row, struct buf *why)
{
	struct str rest = str_of(row->words), word;
	const char *sep = "is not known; write one of ";

	while (str_split(&rest, '|', &word)) {
		buf_puts(why, sep);
		buf_str(why, word);
		sep = ", ";
	}
	if (row->type == OPT_WORDS)
		buf_puts(why, ", or several with commas");
}

int value_add_item(const struct opt_row *row, union opt_value *v, struct str item, struct buf *why)
{
	double d;
	int bit;

	if (row->type == OPT_LIST)
		return list_add(&v->list, item);
	item = str_trim(item);
	if (row->type == OPT_DOUBLES) {
		if (!parse_double(item, &d))
			return doubles_add(&v->doubles, d);
		buf_puts(why, "is not a number; write one such as 0.25");
		return -EINVAL;
	}
	if (!parse_enum(row->words, item, &bit)) {
		v->e |= 1 << bit;
		return 0;
	}
	add_words(row, why);
	return -EINVAL;
}

/* Items with commas; an empty one counts only where it must be a number. */
static int parse_items(const struct opt_row *row, struct str text, union opt_value *v)
{
	_buf_ struct buf why = BUF_INIT; /* about an item; the message is about the whole text */
	struct str item;
	int err = 0;

	while (!err && str_split(&text, ',', &item)) {
		item = str_trim(item);
		if (item.len || row->type == OPT_DOUBLES)
			err = value_add_item(row, v, item, &why);
	}
	return err;
}

/* The reason of a parser's refusal, by type, and what would be right. */
static void explain(const struct opt_row *row, int err, struct buf *why)
{
	static const char *const wanted[] = {
		[OPT_BOOL] = "is neither true nor false; write true or false",
		[OPT_INT] = "is not a whole number; write one such as 1000",
		[OPT_SIZE] = "is not a size; write bytes, or a number with k, M or G such as 4MiB",
		[OPT_DURATION] = "is not a duration; write a number with a unit (ms, s, m, h, d) such as 15m",
		[OPT_DURATION_MS] = "is not a duration; write a number with a unit such as 10s, or milliseconds",
		[OPT_DOUBLE] = "is not a number; write one such as 0.25",
		[OPT_STR] = "holds a NUL byte; leave it out",
		[OPT_LIST] = "is too long a list; write at most 4096 items",
		[OPT_DOUBLES] = "is not a list of numbers; write them ascending with commas, such as 0.1,0.5,1",
		[OPT_KV] = "is too long a list; write at most 4096 items",
	};

	if (err == -ENOMEM || why->len)
		return;
	if (err == -ERANGE) {
		buf_puts(why, "is too large; write a smaller one");
	} else if (row->type == OPT_ENUM || row->type == OPT_WORDS) {
		add_words(row, why);
	} else {
		buf_puts(why, wanted[row->type]);
	}
}

int value_parse(const struct opt_row *row, struct str text, union opt_value *ret, struct buf *why)
{
	union opt_value v = {0};
	int err = 0;

	if (row->type != OPT_STR)
		text = str_trim(text);
	switch (row->type) {
	case OPT_BOOL:
		err = yes_or_no(text, &v.b) ? 0 : -EINVAL;
		break;
	case OPT_INT:
		err = parse_int(text, &v.i);
		break;
	case OPT_SIZE:
		err = parse_size(text, &v.u);
		break;
	case OPT_DURATION:
	case OPT_DURATION_MS:
		err = parse_duration(text, row->type == OPT_DURATION_MS, &v.u);
		break;
	case OPT_DOUBLE:
		err = parse_double(text, &v.d);
		break;
	case OPT_STR:
		err = text.len && memchr(text.p, 0, text.len) ? -EINVAL : 0;
		if (!err && !(v.s = str_dup(text)))
			err = -ENOMEM;
		break;
	case OPT_LIST:
	case OPT_DOUBLES:
	case OPT_WORDS:
		err = parse_items(row, text, &v);
		break;
	case OPT_KV:
		err = parse_kv(text, &v.kv, why);
		break;
	case OPT_ENUM:
		err = parse_enum(row->words, text, &v.e);
		break;
	}
	if (err) {
		explain(row, err, why);
		value_done(row->type, &v);
		return err == -ENOMEM ? err : -EINVAL;
	}
	*ret = v;
	return 0;
}

/* ---- life and equality ---- */

size_t value_size(enum opt_type type)
{
	static const size_t size[] = {
		[OPT_BOOL] = sizeof(bool),
		[OPT_INT] = sizeof(int64_t),
		[OPT_SIZE] = sizeof(uint64_t),
		[OPT_DURATION] = sizeof(uint64_t),
		[OPT_DURATION_MS] = sizeof(uint64_t),
		[OPT_DOUBLE] = sizeof(double),
		[OPT_STR] = sizeof(char *),
		[OPT_LIST] = sizeof(struct str_list),
		[OPT_DOUBLES] = sizeof(struct double_list),
		[OPT_KV] = sizeof(struct kv_list),
		[OPT_ENUM] = sizeof(int),
		[OPT_WORDS] = sizeof(int),
	};

	return size[type];
}

static bool lists_equal(const struct str_list *a, const struct str_list *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		if (strcmp(a->v[i], b->v[i]))
			return false;
	}
	return true;
}

static bool kvs_equal(const struct kv_list *a, const struct kv_list *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		if (strcmp(a->v[i].key, b->v[i].key) || strcmp(a->v[i].value, b->v[i].value))
			return false;
	}
	return true;
}

bool value_equal(enum opt_type type, const void *a, const void *b)
{
	const struct double_list *da = a, *db = b;

	switch (type) {
	case OPT_STR:
		return !strcmp(*(char *const *)a, *(char *const *)b);
	case OPT_LIST:
		return lists_equal(a, b);
	case OPT_KV:
		return kvs_equal(a, b);
	case OPT_DOUBLES:
		return da->n == db->n && (!da->n || !memcmp(da->v, db->v, da->n * sizeof(double)));
	default:
		return !memcmp(a, b, value_size(type));
	}
}

void value_done(enum opt_type type, void *field)
{
	union opt_value *v = field;

	switch (type) {
	case OPT_STR:
		free(v->s);
		break;
	case OPT_LIST:
		for (size_t i = 0; i < v->list.n; i++)
			free(v->list.v[i]);
		free(v->list.v);
		break;
	case OPT_DOUBLES:
		free(v->doubles.v);
		break;
	case OPT_KV:
		for (size_t i = 0; i < v->kv.n; i++) {
			free(v->kv.v[i].key);
			free(v->kv.v[i].value);
		}
		free(v->kv.v);
		break;
	default:
		break;
	}
	memset(field, 0, value_size(type));
}

/* Headers hold credentials: never in a message. */
bool value_is_secret(const struct opt_row *row)
{
	struct str name = str_of(row->flag), tail = STR("headers");

	return row->type == OPT_KV && name.len >= tail.len &&
	       str_eq((struct str){name.p + name.len - tail.len, tail.len}, tail);
}

/* ---- checks of one value ---- */

static int refuse(struct buf *why, const char *text)
{
	buf_puts(why, text);
	return -EINVAL;
}

static int check_ring(const union opt_value *v, struct buf *why)
{
	if (v->u >= 64 << 10 && v->u <= 256 << 20 && !(v->u & (v->u - 1)))
		return 0;
	return refuse(why,
		      "is not possible for a ring buffer; write a power of two from 64KiB to 256MiB, such as 4MiB");
}

static int check_decode_memory(const union opt_value *v, struct buf *why)
{
	/* below that a head of 64KiB never has room, see SHARE in proto/budget.c */
	return v->u >= 1 << 20 ? 0 : refuse(why, "is too little; write 1MiB or more");
}

static int check_ratio(const union opt_value *v, struct buf *why)
{
	return v->d >= 0 && v->d <= 1 ? 0 : refuse(why, "is not a ratio; write a number from 0 to 1");
}

/* `least`: what the first bound must be greater than or equal to. */
static int check_bounds(const struct double_list *l, double least, struct buf *why)
{
	if (!l->n || l->n > BUCKETS_MAX)
		return refuse(why, "has the wrong number of bounds; write from 1 to 64");
	if (l->v[0] < least)
		return refuse(why, least > 0 ? "has a bound that is not positive; write bounds greater than 0"
					     : "has a negative bound; write bounds from 0 on");
	for (size_t i = 1; i < l->n; i++) {
		if (l->v[i] <= l->v[i - 1])
			return refuse(why, "is not ascending; write each bound greater than the one before");
	}
	return 0;
}

static int check_buckets(const union opt_value *v, struct buf *why)
{
	return check_bounds(&v->doubles, 1e-9, why);
}

static int check_size_buckets(const union opt_value *v, struct buf *why)
{
	return check_bounds(&v->doubles, 0, why);
}

static bool is_host_name(struct str s)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.p[i] | 0x20;

		if (!(c >= 'a' && c <= 'z') && !(s.p[i] >= '0' && s.p[i] <= '9') && s.p[i] != '.' && s.p[i] != '-')
			return false;
	}
	return s.len < 254;
}

static bool is_ip6(struct str s)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr a;

	if (s.len >= sizeof(text))
		return false;
	memcpy(text, s.p, s.len);
	text[s.len] = 0;
	return inet_pton(AF_INET6, text, &a) == 1;
}

/* A name made of digits and dots only has to be an address. */
static bool is_host(struct str s)
{
	char text[INET_ADDRSTRLEN];
	struct in_addr a;

	if (!s.len || s.p[strspn(s.p, "0123456789.")] != ':')
		return is_host_name(s);
	if (s.len >= sizeof(text))
		return false;
	memcpy(text, s.p, s.len);
	text[s.len] = 0;
	return inet_pton(AF_INET, text, &a) == 1;
}

static bool is_listen_address(const char *s)
{
	const char *colon = strrchr(s, ':');
	struct str host;
	uint64_t port;

	if (!colon || str_to_u64(str_of(colon + 1), &port) || port > 65535)
		return false;
	host = (struct str){s, (size_t)(colon - s)};
	if (host.len > 2 && s[0] == '[' && colon[-1] == ']')
		return is_ip6((struct str){s + 1, host.len - 2});
	return is_host(host);
}

static int check_listen(const union opt_value *v, struct buf *why)
{
	for (size_t i = 0; i < v->list.n; i++) {
		if (!strcmp(v->list.v[i], "none")) {
			if (v->list.n > 1)
				return refuse(why, "names 'none' beside an address; write either");
		} else if (!is_listen_address(v->list.v[i])) {
			return refuse(why, "is not ADDRESS:PORT; write 127.0.0.1:9960, [::1]:9960, :9960 or none");
		}
	}
	return v->list.n ? 0 : refuse(why, "names no address; write 127.0.0.1:9960, or none to serve nothing");
}

static int check_web_path(const union opt_value *v, struct buf *why)
{
	static const char *const taken[] = {"/", "/healthz", "/readyz"};

	for (size_t i = 0; i < ARRAY_SIZE(taken); i++) {
		if (!strcmp(v->s, taken[i]))
			return refuse(why, "is served with something else; write another path, such as /metrics");
	}
	for (const char *p = v->s; *p; p++) {
		if ((uint8_t)*p <= 0x20 || (uint8_t)*p >= 0x7f || strchr("?#%\"<>\\", *p))
			return refuse(why, "holds a character that a path cannot; write one such as /metrics");
	}
	return v->s[0] == '/' ? 0 : refuse(why, "does not begin with '/'; write a path such as /metrics");
}

static int check_scope(const union opt_value *v, struct buf *why)
{
	for (size_t i = 0; i < v->list.n; i++) {
		struct str s = str_of(v->list.v[i]), kind = {0};
		uint64_t pid;

		str_split(&s, ':', &kind);
		if (str_is(kind, "pid") && !str_to_u64(s, &pid) && pid > 0 && pid <= 4194304)
			continue;
		if (str_is(kind, "cgroup") && s.len && s.p[0] == '/')
			continue;
		return refuse(why, "is not a scope; write cgroup:/PATH (as in /proc/PID/cgroup) or pid:PID");
	}
	return 0;
}

static int check_paths(const union opt_value *v, struct buf *why)
{
	for (size_t i = 0; i < v->list.n; i++) {
		if (!strchr("/*?[", v->list.v[i][0]))
			return refuse(why, "has a pattern that no path can match; begin each with '/' or '*'");
	}
	return 0;
}

static int check_url(const union opt_value *v, struct buf *why)
{
	struct str s = str_of(v->s), rest;

	if (!s.len)
		return 0;
	rest = s;
	if (str_starts_nocase(s, STR("http://")))
		rest.p += 7;
	else if (str_starts_nocase(s, STR("https://")))
		rest.p += 8;
	if (rest.p == s.p || !*rest.p || *rest.p == '/' || *rest.p == ':')
		return refuse(why, "is not an http:// or https:// URL; write one such as http://localhost:4318");
	for (size_t i = 0; i < s.len; i++) {
		if ((uint8_t)s.p[i] <= 0x20 || s.p[i] == 0x7f)
			return refuse(why,
				      "holds a blank or control character; write a URL such as http://localhost:4318");
	}
	return 0;
}

static int check_readable(const union opt_value *v, struct buf *why)
{
	if (!v->s[0] || !access(v->s, R_OK))
		return 0;
	buf_printf(why, "cannot be read: %s; write the path of a PEM file", strerror(errno));
	return -EINVAL;
}

static int check_headers(const union opt_value *v, struct buf *why)
{
	static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

	for (size_t i = 0; i < v->kv.n; i++) {
		const struct kv *h = &v->kv.v[i];

		if (!h->key[0] || h->key[strspn(h->key, token)])
			return refuse(why, "has a header name that is no HTTP token; use letters, digits and '-'");
		for (const char *p = h->value; *p; p++) {
			if (((uint8_t)*p < 0x20 && *p != '\t') || *p == 0x7f)
				return refuse(why, "has a control character in a header's value; take it out");
		}
	}
	return 0;
}

static int check_attributes(const union opt_value *v, struct buf *why)
{
	for (size_t i = 0; i < v->kv.n; i++) {
		if (!v->kv.v[i].key[0])
			return refuse(why, "has an attribute without a name; write NAME=VALUE");
	}
	return 0;
}

static int check_exporters(const union opt_value *v, struct buf *why)
{
	if (!v->e)
		return refuse(why, "names no exporter; write none for none");
	if (v->e & (EXPORTER_AUTO | EXPORTER_NONE) && v->e & (v->e - 1))
		return refuse(why, "names another exporter beside auto or none; write either");
	return 0;
}

static int check_not_empty(const union opt_value *v, struct buf *why)
{
	return v->s[0] ? 0 : refuse(why, "is empty; write a name");
}

#define AT(field) offsetof(struct config, field)

static const struct {
	size_t offset;
	int (*check)(const union opt_value *v, struct buf *why);
} checks[] = {
	{AT(scope), check_scope},
	{AT(web_listen), check_listen},
	{AT(web_path), check_web_path},
	{AT(ring_size), check_ring},
	{AT(decode_memory), check_decode_memory},
	{AT(exclude_self_paths), check_paths},
	{AT(buckets), check_buckets},
	{AT(size_buckets), check_size_buckets},
	{AT(otlp_endpoint), check_url},
	{AT(otlp_traces_endpoint), check_url},
	{AT(otlp_metrics_endpoint), check_url},
	{AT(otlp_headers), check_headers},
	{AT(otlp_traces_headers), check_headers},
	{AT(otlp_metrics_headers), check_headers},
	{AT(otlp_certificate), check_readable},
	{AT(otlp_traces_certificate), check_readable},
	{AT(otlp_metrics_certificate), check_readable},
	{AT(otlp_client_key), check_readable},
	{AT(otlp_client_certificate), check_readable},
	{AT(sampler_arg), check_ratio},
	{AT(resource_attributes), check_attributes},
	{AT(traces_exporter), check_exporters},
	{AT(metrics_exporter), check_exporters},
	{AT(self_name), check_not_empty},
};

#define DAY (86400 * NSEC_PER_SEC)

/* Integers and durations: the least and the greatest value that make sense. */
static const struct {
	size_t offset;
	uint64_t least, most;
} ranges[] = {
	{AT(web_max_requests), 1, 1024},
	{AT(max_connections), 1, 10000000},
	{AT(max_processes), 1, 4194304},
	{AT(max_series), 1, 10000000},
	{AT(series_ttl), NSEC_PER_SEC, 365 * DAY},
	{AT(route_limit), 1, 100000},
	{AT(otlp_timeout), NSEC_PER_MSEC, DAY},
	{AT(otlp_traces_timeout), 0, DAY},
	{AT(otlp_metrics_timeout), 0, DAY},
	{AT(metric_interval), NSEC_PER_MSEC, DAY},
	{AT(metric_timeout), NSEC_PER_MSEC, DAY},
	{AT(bsp_delay), NSEC_PER_MSEC, DAY},
	{AT(bsp_timeout), NSEC_PER_MSEC, DAY},
	{AT(bsp_queue), 1, 1000000},
	{AT(bsp_batch), 1, 1000000},
};

static void add_number(struct buf *b, enum opt_type type, uint64_t v)
{
	if (type == OPT_INT)
		buf_u64(b, v);
	else
		add_duration(b, v);
}

static int check_range(const struct opt_row *row, const union opt_value *v, struct buf *why)
{
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		if (ranges[i].offset != row->offset)
			continue;
		if ((row->type != OPT_INT || v->i >= 0) && v->u >= ranges[i].least && v->u <= ranges[i].most)
			return 0;
		buf_puts(why, "is out of range; write one from ");
		add_number(why, row->type, ranges[i].least);
		buf_puts(why, " to ");
		add_number(why, row->type, ranges[i].most);
		return -EINVAL;
	}
	return 0;
}

int value_check(const struct opt_row *row, const union opt_value *v, struct buf *why)
{
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		if (checks[i].offset == row->offset)
			return checks[i].check(v, why);
	}
	return check_range(row, v, why);
}
