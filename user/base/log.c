// SPDX-License-Identifier: Apache-2.0
/*
 * A line is put together in memory and leaves by one write(2), so that lines of two
 * threads never mix. The message is escaped as a whole after formatting; no caller
 * has to think of it. errno survives, so that logging never changes what is returned.
 */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "user/base/buf.h"
#include "user/base/clock.h"
#include "user/base/log.h"

#define MESSAGE_MAX 4096
#define GATE_NS	    (10 * NSEC_PER_SEC)

static atomic_int max_level = LOG_INFO;
static atomic_int line_format = LOG_LOGFMT;
static const char *const level_name[] = {"error", "warn", "info", "debug"};

void log_setup(enum log_level level, enum log_format format)
{
	atomic_store(&max_level, (int)level);
	atomic_store(&line_format, (int)format);
}

bool log_enabled(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

static void add_time(struct buf *b)
{
	uint64_t now = clock_wall_ns();
	time_t sec = (time_t)(now / NSEC_PER_SEC);
	char text[32];
	struct tm tm;

	gmtime_r(&sec, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	buf_printf(b, "%s.%03uZ", text, (unsigned)(now % NSEC_PER_SEC / NSEC_PER_MSEC));
}

static void write_line(const char *p, size_t len)
{
	while (len) {
		ssize_t n = write(STDERR_FILENO, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		/* nobody to tell when the log itself fails */
		if (n <= 0)
			return;
		p += n;
		len -= (size_t)n;
	}
}

void log_write(enum log_level level, const char *fmt, ...)
{
	bool json = atomic_load(&line_format) == LOG_JSON;
	_buf_ struct buf line = BUF_INIT;
	char message[MESSAGE_MAX];
	int saved = errno;
	struct str text;
	va_list ap;
	int n;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	n = vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	text = (struct str){message, n < 0 ? 0 : MIN((size_t)n, sizeof(message) - 1)};

	buf_puts(&line, json ? "{\"ts\":\"" : "ts=");
	add_time(&line);
	buf_printf(&line, json ? "\",\"level\":\"%s\",\"msg\":\"" : " level=%s msg=\"", level_name[level]);
	if (json)
		buf_json(&line, text);
	else
		buf_quoted(&line, text);
	if (n >= (int)sizeof(message))
		buf_puts(&line, " [cut]");
	buf_puts(&line, json ? "\"}\n" : "\"\n");
	if (!line.err)
		write_line(line.data, line.len);
	errno = saved;
}

bool log_gate_pass(struct log_gate *gate, uint64_t *ret_held)
{
	uint64_t now = clock_mono_ns(), next = __atomic_load_n(&gate->next_ns, __ATOMIC_RELAXED);

	/* of two threads that come at the same time, one passes */
	if (now < next || !__atomic_compare_exchange_n(&gate->next_ns, &next, now + GATE_NS, false, __ATOMIC_RELAXED,
						       __ATOMIC_RELAXED)) {
		__atomic_fetch_add(&gate->held, 1, __ATOMIC_RELAXED);
		return false;
	}
	*ret_held = __atomic_exchange_n(&gate->held, 0, __ATOMIC_RELAXED);
	return true;
}
