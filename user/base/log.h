/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leveled logging to standard error, as logfmt or JSON lines. Every message is
 * escaped as a whole: nothing that came from traffic reaches a terminal raw.
 * Thread-safe: one write(2) per line.
 */
#pragma once

#include "user/base/err.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_LOGFMT, LOG_JSON };

void log_setup(enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *fmt, ...) __printf(2, 3);

#define log_err(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                       \
	do {                                                 \
		if (unlikely(log_enabled(LOG_DEBUG)))        \
			log_write(LOG_DEBUG, __VA_ARGS__);   \
	} while (0)

/* log and return in one statement: return log_err_r(-ENOMEM, "…") */
#define log_err_r(err, ...)               \
	({                                \
		log_err(__VA_ARGS__);     \
		(err);                    \
	})

/*
 * For places that traffic can reach: at most one line per ten seconds from this
 * place; the next line that passes says how many were held back.
 */
struct log_gate {
	uint64_t next_ns;
	uint64_t held;
};
bool log_gate_pass(struct log_gate *gate, uint64_t *ret_held);
#define log_warn_limited(...)                                                        \
	do {                                                                         \
		static struct log_gate gate_;                                        \
		uint64_t held_;                                                      \
		if (log_gate_pass(&gate_, &held_)) {                                 \
			log_warn(__VA_ARGS__);                                       \
			if (held_)                                                   \
				log_warn("%llu similar messages were held back",     \
					 (unsigned long long)held_);                 \
		}                                                                    \
	} while (0)
